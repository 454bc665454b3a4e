"""From a token file to batches: the held-out split, length buckets, collation.

A batch holds rows of about the same length and at most `budget` places, counted with padding, so that a
step costs about the same whatever it holds and little of it is padding. A row is one example, or several
told one after the other: a conversation that changes its subject, as those with a bot do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from chatgpt2.tokens import Array, TokenFile

Row = list[int]
"""Numbers of the examples that stand in one row of a batch."""

_POOL = 4096
"""Examples sorted by length together: enough for little padding, few enough to mix the corpus well."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's examples.

    ids     [rows, length] int64, padded on the right
    places  [labels] int64, the places in the flattened [rows * length] whose next id is to be learned
    labels  [labels] int64, those next ids
    tokens  ids that are not padding
    """

    ids: Tensor
    places: Tensor
    labels: Tensor
    tokens: int

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is called with."""
        return {"ids": self.ids, "places": self.places, "labels": self.labels}

    @property
    def begins(self) -> Tensor:
        return self.ids[0]


class Portion(Protocol):
    """What a step learns from, as a model is called with it: a Batch, or another kind of one."""

    @property
    def tokens(self) -> int: ...

    @property
    def inputs(self) -> dict[str, Tensor]:
        """By name, `labels` among them: as many as there is to learn."""

    @property
    def begins(self) -> Tensor:
        """[length] the ids of its first text, by which a person can find it."""


def split_held_out(tokens: TokenFile, count: int) -> tuple[Array, Array]:
    """Example numbers to train on and to hold out: about `count` distinct dialogues are held out.

    A dialogue is held out for what it says (the lowest content hashes are chosen), so equal dialogues, and
    the pieces of a long one, are always on the same side.
    """
    everything = np.arange(len(tokens), dtype=np.int64)
    if count <= 0:
        return everything, everything[:0]
    distinct = np.unique(tokens.dialogue)
    if count >= len(distinct):
        count = len(distinct) - 1
    if count <= 0:
        return everything, everything[:0]
    out = np.isin(tokens.dialogue, distinct[:count])
    return everything[~out], everything[out]


def held_out_count(distinct: int, fraction: float | None) -> int:
    """How many dialogues to hold out of `distinct`: `fraction` of them, or by default none below 20 (a tiny
    corpus cannot spare any), else 5 %, at least 10 and at most 1,000."""
    if fraction is not None:
        return 0 if fraction == 0 else max(1, round(distinct * fraction))
    return 0 if distinct < 20 else min(1000, max(10, distinct // 20))


def cut_batches(lengths: Array, order: Array, budget: int) -> list[Array]:
    """Cut `order` (example numbers, sorted by length) into runs of at most `budget` padded places."""
    batches = []
    start = 0
    for i, length in enumerate(lengths[order].tolist()):
        if i > start and length * (i + 1 - start) > budget:
            batches.append(order[start:i])
            start = i
    batches.append(order[start:])
    return batches


@dataclass(frozen=True, slots=True)
class Deal:
    """How examples are dealt into batches.

    budget  places of a batch, padding included
    join    share of examples that follow another one in its row
    window  no row gets longer than this by joining
    """

    budget: int
    seed: int = 0
    join: float = 0.0
    window: int = 0


def epoch_batches(lengths: Array, examples: Array, deal: Deal, epoch: int) -> Iterator[list[Row]]:
    """The batches of one epoch, in a random order that depends on the seed and the epoch alone."""
    rng = np.random.default_rng((deal.seed, epoch))
    shuffled = rng.permutation(examples)
    for start in range(0, len(shuffled), _POOL * 8):
        batches: list[list[Row]] = []
        for pool in range(start, min(start + _POOL * 8, len(shuffled)), _POOL):
            rows, long = _rows(lengths, shuffled[pool : pool + _POOL], deal, rng)
            for some in cut_batches(long, np.argsort(long, kind="stable"), deal.budget):
                batches.append([rows[i] for i in some])
        yield from (batches[i] for i in rng.permutation(len(batches)))


def _rows(lengths: Array, examples: Array, deal: Deal, rng: np.random.Generator) -> tuple[list[Row], Array]:
    """The examples as rows, and the rows' lengths. Only the first of a row keeps its [CLS]."""
    if deal.join == 0:
        return [[n] for n in examples.tolist()], lengths[examples]
    rows: list[Row] = []
    long: list[int] = []
    joins = (rng.random(len(examples)) < deal.join).tolist()
    for number, joined in zip(examples.tolist(), joins, strict=True):
        length = int(lengths[number])
        if joined and rows and long[-1] + length - 1 <= deal.window:
            rows[-1].append(number)
            long[-1] += length - 1
        else:
            rows.append([number])
            long.append(length)
    return rows, np.array(long)


def collate(tokens: TokenFile, rows: Sequence[Row], pad_id: int, limit: int = 0) -> Batch:
    """Pad the rows to the longest of them, rounded up to 8 places but not above `limit`: the fewer
    shapes there are, the fewer kernels a CPU has to prepare and keep.

    Padding is on the right, where no earlier place can see it under causal attention: no mask is needed.
    An empty share (more processes than rows) becomes one row with nothing to learn.
    """
    begins, ends = tokens.offsets[:-1], tokens.offsets[1:]
    long = [sum(int(ends[n] - begins[n]) for n in row) - (len(row) - 1) for row in rows]
    longest = max(long, default=2)
    width = max(longest, min(-(-longest // 8) * 8, limit))
    ids = np.full((max(1, len(rows)), width), pad_id, dtype=np.int64)
    learn = np.zeros_like(ids, dtype=bool)
    for place, row in enumerate(rows):
        at = 0
        for number in row:
            here = slice(int(begins[number]) + (at > 0), int(ends[number]))
            to = slice(at, at + here.stop - here.start)
            ids[place, to] = tokens.ids[here]
            learn[place, to] = tokens.learn[here]
            at = to.stop
    learn[:, 0] = False  # nothing comes before it
    places = np.flatnonzero(learn) - 1  # the place before a learned id is the one that predicts it
    labels = ids.reshape(-1)[places + 1]
    return Batch(torch.from_numpy(ids), torch.from_numpy(places), torch.from_numpy(labels), sum(long))
