"""From logits to the next token: the arithmetic of `SamplingParams`, for all rows of a batch at once.

The order is that of transformers: repetition penalty, bans, temperature, top-k, top-p, draw. A token is drawn
by one uniform number per reply and step, found in the cumulative probabilities of the candidates, most likely
first. So what a reply draws does not depend on what else is in the batch, except for the rounding of
the logits: matrix products of different heights may differ in the last bits, which moves a
draw only when its number falls within that distance of a boundary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import EngineError

_COLDEST = 1e-6  # below this a division overflows, and the result is greedy anyway
_PEEK = 256  # of a whole vocabulary, how many tokens are looked at before it is sorted


@dataclass(frozen=True, slots=True)
class Columns:
    """The sampling parameters of a batch, one entry per row."""

    temperature: Tensor  # [rows, 1]
    top_p: Tensor  # [rows, 1]; infinite where it is off
    penalty: Tensor  # [rows, 1]
    penalised: bool  # whether any row has a repetition penalty
    widths: tuple[tuple[int, Tensor], ...]  # number of candidates → the rows that keep that many

    @classmethod
    def of(cls, batch: Sequence[SamplingParams], vocabulary: int, device: torch.device) -> Columns:
        """Lay out the parameters of the rows of a batch."""

        def column(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.float32, device=device).unsqueeze(1)

        rows: defaultdict[int, list[int]] = defaultdict(list)
        for row, params in enumerate(batch):
            rows[candidates(params, vocabulary)].append(row)
        return cls(
            temperature=column(max(params.temperature, _COLDEST) for params in batch),
            top_p=column(params.top_p if params.top_p < 1 else torch.inf for params in batch),
            penalty=column(params.repetition_penalty for params in batch),
            penalised=any(params.repetition_penalty != 1 for params in batch),
            widths=tuple((width, torch.tensor(where, device=device)) for width, where in rows.items()),
        )


def candidates(params: SamplingParams, vocabulary: int) -> int:
    """How many of the most likely tokens are looked at: one when greedy."""
    if params.temperature == 0:
        return 1
    return min(params.top_k or vocabulary, vocabulary)


def penalise(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """Make the ids in `seen` [rows, any] less likely: `penalty` [rows, 1] divides positive logits and
    multiplies negative ones. An id may be in `seen` more than once and is penalised once."""
    scores = logits.gather(1, seen)
    return logits.scatter(1, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


def forbid(logits: Tensor, ids: Sequence[int]) -> None:
    """Take `ids` out of one row of logits [vocabulary], unless that would leave nothing to choose from."""
    where = torch.tensor(ids, dtype=torch.long, device=logits.device)
    before = logits[where]
    logits[where] = -torch.inf
    if logits.max() == -torch.inf:
        logits[where] = before


def completes_ngram(reply: Sequence[int], n: int) -> list[int]:
    """The ids that would repeat an n-gram of `reply`."""
    tail = tuple(reply[len(reply) - n + 1 :])
    starts = range(len(reply) - n + 1)
    return [reply[start + n - 1] for start in starts if tuple(reply[start : start + n - 1]) == tail]


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Probabilities [rows, candidates], sorted from high to low, with zeros after the smallest set that
    reaches `top_p` [rows, 1]. The first candidate always stays."""
    before = probabilities.cumsum(-1) - probabilities
    return probabilities.masked_fill(before >= top_p, 0)


def draw(probabilities: Tensor, uniforms: Tensor, mass: Tensor | None = None) -> Tensor:
    """The candidate [rows, 1] whose cumulative probability passes `uniforms` [rows, 1], each in [0, 1).

    `mass` [rows, 1] is what the probabilities sum to, with those of candidates that are not given.
    """
    cumulative = probabilities.cumsum(-1)
    place = torch.searchsorted(
        cumulative, uniforms * (cumulative[:, -1:] if mass is None else mass), right=True
    )
    # Rounding can carry the number past the last candidate that has a probability at all.
    last = (probabilities > 0).sum(-1, keepdim=True) - 1
    return torch.minimum(place, last)


def sample(logits: Tensor, columns: Columns, uniforms: Tensor) -> Tensor:
    """The next token of every row, from float32 logits [rows, vocabulary] and numbers in [0, 1) [rows]."""
    if not logits.amax(-1).isfinite().all():
        raise EngineError("the model's logits are not finite numbers: its weights are damaged")
    chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    for width, rows in columns.widths:
        part = logits if len(rows) == len(logits) else logits[rows]
        if width == 1:
            chosen[rows] = part.argmax(-1)
            continue
        setting = (columns.temperature[rows], columns.top_p[rows], uniforms[rows].unsqueeze(1))
        choose = _among_all if width == logits.shape[1] > _PEEK else _among
        chosen[rows] = choose(part, width, *setting)
    return chosen


def _among(logits: Tensor, width: int, temperature: Tensor, top_p: Tensor, uniforms: Tensor) -> Tensor:
    """Draw from the `width` most likely tokens of each row."""
    values, ids = logits.topk(width) if width < logits.shape[1] else logits.sort(-1, descending=True)
    probabilities = ((values - values[:, :1]) / temperature).softmax(-1)
    return ids.gather(1, draw(nucleus(probabilities, top_p), uniforms)).squeeze(1)


def _among_all(logits: Tensor, width: int, temperature: Tensor, top_p: Tensor, uniforms: Tensor) -> Tensor:
    """Draw from all tokens of each row, without sorting them where a look at the most likely ones settles it.

    Sorting a vocabulary costs more than a step of a small model. Most draws end in its first hundreds: when
    the nucleus ends there, or, with top-p off, when the number falls there.
    """
    values, ids = logits.topk(_PEEK)
    weights = ((values - values[:, :1]) / temperature).exp()
    probabilities = weights / ((logits - values[:, :1]) / temperature).exp().sum(-1, keepdim=True)
    kept = nucleus(probabilities, top_p)
    seen = kept.sum(-1, keepdim=True)
    ended = kept[:, -1:] == 0
    chosen = ids.gather(1, draw(kept, uniforms, torch.where(ended, seen, 1.0))).squeeze(1)
    open_ = ~(ended | (top_p.isinf() & (uniforms < seen))).squeeze(1)
    if open_.any():
        chosen[open_] = _among(logits[open_], width, temperature[open_], top_p[open_], uniforms[open_])
    return chosen
