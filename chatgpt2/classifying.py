"""Texts in, judgements out, with what `train-classifier` made or any GPT2ForSequenceClassification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chatgpt2.batches import cut_batches
from chatgpt2.checkpoint import quiet_transformers
from chatgpt2.device import choose_device
from chatgpt2.errors import ConfigError
from chatgpt2.heads import Judge, load_judge

_AT_ONCE = 256  # texts that are sorted by length together
_BUDGET = 4096  # places of a batch


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a model says of a text.

    label   the likeliest class; None where the model gives a number
    scores  the probability of each class, which add up to 1; else the number by its name
    """

    text: str
    label: str | None
    scores: dict[str, float]

    @property
    def score(self) -> float:
        """The probability of `label`, or the number."""
        return self.scores[self.label] if self.label is not None else next(iter(self.scores.values()))


def classify(model: str | Path | Judge, texts: Iterable[str], *, device: str = "auto") -> Iterator[Judgement]:
    """What `model` (a directory, a hub name, or one that is loaded) says of each text, in order, as they come.

    Raises ConfigError at a text without content, CheckpointError when the model cannot be used.
    """
    judge = model if isinstance(model, Judge) else load_judge(model, choose_device(device))
    rest = enumerate(texts, 1)
    while some := list(islice(rest, _AT_ONCE)):
        for number, text in some:
            if not text.strip():
                raise ConfigError(f"text {number} is empty: there is nothing to judge")
        yield from _judged(judge, [text for _, text in some])


def _judged(judge: Judge, texts: Sequence[str]) -> list[Judgement]:
    codec = judge.codec
    examples = codec.encode_whole(texts)
    lengths = examples.offsets[1:] - examples.offsets[:-1]
    found: dict[int, Judgement] = {}
    for numbers in cut_batches(lengths, lengths.argsort(kind="stable"), _BUDGET):
        ids = torch.full((len(numbers), int(lengths[numbers].max())), codec.pad_id)
        for row, number in enumerate(numbers.tolist()):
            begin = int(examples.offsets[number])
            ids[row, : lengths[number]] = torch.from_numpy(examples.ids[begin : begin + int(lengths[number])])
        rows = _numbers(judge, ids, torch.from_numpy(lengths[numbers]))
        for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
            found[number] = _judgement(judge, texts[number], row)
    return [found[number] for number in range(len(texts))]


@torch.inference_mode()
def _numbers(judge: Judge, ids: Tensor, lengths: Tensor) -> Tensor:
    """[rows, labels] probabilities or numbers for `ids` [rows, length], padded on the right."""
    model: Any = judge.model
    device = model.transformer.wte.weight.device
    with quiet_transformers():
        hidden = model.transformer(input_ids=ids.to(device), use_cache=False).last_hidden_state
    last = hidden[torch.arange(len(ids), device=device), lengths.to(device) - 1]  # [rows, d]
    if judge.head == "value":
        values: Tensor = model.value_head(last)
        return values
    logits: Tensor = model.score(last)
    return logits.softmax(-1) if judge.head == "classification" else logits


def _judgement(judge: Judge, text: str, row: list[float]) -> Judgement:
    scores = dict(zip(judge.labels, row, strict=True))
    return Judgement(
        text, max(scores, key=scores.__getitem__) if judge.head == "classification" else None, scores
    )
