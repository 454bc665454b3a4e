"""The labelled texts of a run: read, shared out, tokenised, dealt into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chatgpt2.batches import Batch, Deal, Portion, Row
from chatgpt2.corpus.labelled import Labelled, LabelledSource
from chatgpt2.corpus.texts import text_files
from chatgpt2.errors import ConfigError, CorpusError
from chatgpt2.material import Pile, pile_of
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokens import Array, fingerprint_of, text_hash, tokenise_texts
from chatgpt2.training.objective import states
from chatgpt2.training.options import ClassifierOptions
from chatgpt2.training.textdata import bounds_of

FORMAT = 1  # raise it when the same files come to give other texts
_MOST_KEPT = 1 << 30  # bytes of states that are kept rather than computed again


@dataclass(frozen=True, slots=True)
class Share:
    """The labelled texts of `source` whose hash lies in `share`. Equal texts are so always on one side."""

    source: LabelledSource
    share: tuple[int, int] = (0, 1 << 64)

    def __iter__(self) -> Iterator[Labelled]:
        first, end = self.share
        return (each for each in self.source if first <= text_hash(each.text) < end)

    @property
    def described(self) -> list[object]:
        """Names what is read, beside the content of the files."""
        source = self.source
        return [FORMAT, source.field, source.label, source.clean, source.skip_bad, *self.share]


Shares = tuple[Share, Share | None, Share | None]
"""To train on, to evaluate on, to test on."""


def read_shares(options: ClassifierOptions) -> Shares:
    """The three parts of the labelled texts, as `options` share them out."""

    def source(paths: tuple[Path, ...]) -> LabelledSource:
        files = text_files(paths)
        return LabelledSource(files, options.field, options.label, options.clean, options.skip_bad)

    own = source(options.paths)
    if options.validation or options.test:
        held, test = (Share(source(paths)) if paths else None for paths in (options.validation, options.test))
        return Share(own), held, test
    bounds = bounds_of((each.text for each in own), options.split)
    train, held, test = (Share(own, share) if share[0] < share[1] else None for share in bounds)
    if train is None:
        raise ConfigError("--split leaves no text to train on: give it a larger share")
    return train, held, test


def classes_of(shares: Shares) -> tuple[str, ...]:
    """The labels of all texts to train on, numbers in their order. Raises CorpusError where they are no classes."""
    first = shares[0].source
    found: dict[str, int] = {}
    for each in first:
        found[each.label] = found.get(each.label, 0) + 1
    file, texts = first.files[0], sum(found.values())
    if not found:
        raise CorpusError(file, None, "no record has both a text and a label")
    if len(found) == 1:
        raise CorpusError(
            file, None, f"every label is {next(iter(found))!r}: two classes or more are needed to tell apart"
        )
    if len(found) > max(20, texts // 2):
        raise CorpusError(
            file,
            None,
            f"{len(found):,} different labels for {texts:,} texts are no classes: name the column with --label, or "
            "take --head regression for numbers",
        )
    for other in filter(None, shares[1:]):
        for each in other if other.source is not first else ():
            if each.label not in found:
                known = ", ".join(sorted(found)[:12])
                raise CorpusError(
                    each.file, each.line, f"the label {each.label!r} is not among those to train on: {known}"
                )
    return tuple(sorted(found, key=_order))


def _order(label: str) -> tuple[float, str]:
    number = _number(label)
    return (float("inf") if number is None else number, label)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def numbers_of(share: Share) -> Iterator[float]:
    """The labels as numbers. Raises CorpusError at one that is none."""
    for each in share:
        number = _number(each.label)
        if number is None:
            raise CorpusError(
                each.file, each.line, f"the label {each.label!r} is not a number, and this head learns one"
            )
        yield number


class Texts(torch.utils.data.Dataset[Portion]):
    """Texts with labels, in batches by their length in tokens. It implements `Material`.

    labels  [texts] int64 the classes, or float32
    states  [texts, d] what a frozen backbone makes of each; then no batch holds ids
    """

    def __init__(self, pile: Pile, labels: Tensor) -> None:
        self.pile, self.labels = pile, labels
        self.tokens, self.characters = pile.tokens, pile.characters
        self.states: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pile)

    def __getitems__(self, rows: list[Row]) -> Portion:
        numbers = [number for row in rows for number in row]
        lengths = self.pile.lengths[numbers]
        labels = self.labels[numbers]
        if self.states is not None:
            first = self.pile.__getitems__(rows[:1]).ids[0]
            return Known(self.states[numbers], labels, int(lengths.sum()), first)
        ids = self.pile.__getitems__(rows).ids  # [rows, width]
        places = np.arange(len(numbers)) * ids.shape[1] + lengths - 1
        return Batch(ids, torch.from_numpy(places), labels, int(lengths.sum()))

    def __getitem__(self, row: Row) -> Portion:
        return self.__getitems__([row])

    def epoch(self, deal: Deal, number: int) -> Iterator[list[Row]]:
        return self.pile.epoch(deal, number)

    def in_order(self, budget: int) -> Iterator[list[Row]]:
        return self.pile.in_order(budget)

    def counts(self, vocabulary: int) -> Array:
        return self.pile.counts(vocabulary)

    def first(self, count: int) -> Iterator[list[int]]:
        return self.pile.first(count)

    @torch.no_grad()
    def keep_states(self, model: Any, device: str) -> bool:
        """Compute the states of all texts once, if they fit: a frozen backbone will never say anything else."""
        width = model.config.n_embd
        if self.states is not None or 4 * width * len(self) > _MOST_KEPT:
            return self.states is not None
        found = torch.empty(len(self), width)
        for rows in self.in_order(4096):
            inputs = self.__getitems__(rows).inputs
            numbers = [number for row in rows for number in row]
            found[numbers] = states(model, inputs["ids"].to(device), inputs["places"].to(device)).cpu()
        self.states = found
        return True


@dataclass(frozen=True, slots=True)
class Known:
    """A batch of texts whose states are known; it `begins` with the ids of the first."""

    states: Tensor
    labels: Tensor
    tokens: int
    begins: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        return {"states": self.states, "labels": self.labels}


def tokenised(share: Share, codec: TextCodec, labels: Tensor, cache: Path) -> Texts:
    """The texts of a share as ids, from `cache` if it holds them, beside their labels."""
    fingerprint = fingerprint_of(share.source.files, [codec.fingerprint, "whole", share.described])
    file = tokenise_texts(
        lambda: (each.text for each in share), codec, cache=cache, fingerprint=fingerprint, whole=True
    )
    return Texts(pile_of(file, codec.pad_id), labels)


def labels_of(share: Share, classes: Sequence[str] | None) -> Tensor:
    """[texts] the numbers of their classes, int64; without classes the labels themselves, float32."""
    if classes is None:
        return torch.tensor(list(numbers_of(share)), dtype=torch.float32)
    number = {label: n for n, label in enumerate(classes)}
    return torch.tensor([number[each.label] for each in share], dtype=torch.int64)
