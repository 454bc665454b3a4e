"""What a run learns from: examples of a token file, or windows of one long text, dealt into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from chatgpt2.batches import Batch, Deal, Portion, Row, collate, cut_batches, epoch_batches
from chatgpt2.tokens import Array, TokenFile

_SAMPLE = 20_000
_SAMPLE_TOKENS = 10_000_000


class Material(Protocol):
    """Rows of token ids and how to make batches of them.

    tokens      ids in all of it
    characters  of text that is to be learned
    """

    tokens: int
    characters: int

    def __len__(self) -> int: ...

    def __getitems__(self, rows: list[Row], /) -> Portion: ...

    def epoch(self, deal: Deal, number: int) -> Iterator[list[Row]]:
        """The batches of one epoch, in a random order that depends on the seed and the number alone."""

    def in_order(self, budget: int) -> Iterator[list[Row]]:
        """Everything once, in batches of at most `budget` places."""

    def counts(self, vocabulary: int) -> Array:
        """How often each id is to be predicted, in a sample. [vocabulary] int64"""

    def first(self, count: int) -> Iterator[list[int]]:
        """The ids of up to `count` rows."""


class Pile(torch.utils.data.Dataset[Batch]):
    """The examples `chosen` of a token file. No batch is widened beyond `longest`."""

    def __init__(self, tokens: TokenFile, chosen: Array, pad_id: int, longest: int = 0) -> None:
        self.file, self.chosen, self.pad_id = tokens, chosen, pad_id
        self.lengths = np.asarray(tokens.lengths)
        self.longest = longest or int(self.lengths.max(initial=2))
        self.tokens = int(self.lengths[chosen].sum())
        self.characters = int(tokens.characters[chosen].sum())

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitems__(self, rows: list[Row]) -> Batch:
        return collate(self.file, rows, self.pad_id, self.longest)

    def __getitem__(self, row: Row) -> Batch:
        return self.__getitems__([row])

    def epoch(self, deal: Deal, number: int) -> Iterator[list[Row]]:
        return epoch_batches(self.lengths, self.chosen, deal, number)

    def in_order(self, budget: int) -> Iterator[list[Row]]:
        order = self.chosen[self.lengths[self.chosen].argsort(kind="stable")]
        for numbers in cut_batches(self.lengths, order, budget) if len(order) else ():
            yield [[n] for n in numbers.tolist()]

    def counts(self, vocabulary: int) -> Array:
        found = np.zeros(vocabulary, dtype=np.int64)
        for number in self.chosen[:: max(1, len(self.chosen) // _SAMPLE)].tolist():
            here = slice(int(self.file.offsets[number]), int(self.file.offsets[number + 1]))
            np.add.at(found, self.file.ids[here][self.file.learn[here]], 1)
        return found

    def first(self, count: int) -> Iterator[list[int]]:
        for number in self.chosen[:count].tolist():
            yield self.file.example(int(number)).ids


class Windows(torch.utils.data.Dataset[Batch]):
    """Windows of `block` tokens over one long text.

    Neighbours share one token, the last to be read of one and the first of the next, so in an epoch every token
    but the very first is predicted exactly once. A row is the place where its window begins.

    shifted  each epoch's windows begin somewhere else
    """

    def __init__(
        self, ids: Array, characters: int, block: int, pad_id: int, *, shifted: bool = False
    ) -> None:
        self.ids, self.characters, self.block, self.pad_id, self.shifted = (
            ids,
            characters,
            block,
            pad_id,
            shifted,
        )
        self.tokens = len(ids)

    def __len__(self) -> int:
        return len(self._starts(0))

    def __getitems__(self, rows: list[Row]) -> Batch:
        # A shifted epoch's first window begins before the text.
        parts = [self.ids[max(0, start) : start + self.block] for row in rows for start in row]
        width = max(map(len, parts), default=2)
        ids = np.full((max(1, len(parts)), width), self.pad_id, dtype=np.int64)
        learn = np.zeros_like(ids, dtype=bool)
        for row, part in enumerate(parts):
            ids[row, : len(part)] = part
            learn[row, 1 : len(part)] = True
        places = np.flatnonzero(learn) - 1  # the place before an id is the one that predicts it
        labels = ids.reshape(-1)[places + 1]
        return Batch(
            torch.from_numpy(ids), torch.from_numpy(places), torch.from_numpy(labels), sum(map(len, parts))
        )

    def __getitem__(self, row: Row) -> Batch:
        return self.__getitems__([row])

    def _starts(self, shift: int) -> Array:
        stride = self.block - 1
        return np.arange(shift - stride if shift else 0, len(self.ids) - 1, stride, dtype=np.int64)

    def epoch(self, deal: Deal, number: int) -> Iterator[list[Row]]:
        rng = np.random.default_rng((deal.seed, number))
        shift = int(rng.integers(self.block - 1)) if self.shifted else 0
        yield from self._cut(rng.permutation(self._starts(shift)), deal.budget)

    def in_order(self, budget: int) -> Iterator[list[Row]]:
        return self._cut(self._starts(0), budget)

    def _cut(self, starts: Array, budget: int) -> Iterator[list[Row]]:
        rows = max(1, budget // self.block)
        for at in range(0, len(starts), rows):
            yield [[start] for start in starts[at : at + rows].tolist()]

    def counts(self, vocabulary: int) -> Array:
        return np.bincount(self.ids[:_SAMPLE_TOKENS], minlength=vocabulary)

    def first(self, count: int) -> Iterator[list[int]]:
        starts = self._starts(0)
        for start in starts[:: max(1, len(starts) // max(1, count))][:count].tolist():
            yield self.ids[start : start + self.block].tolist()


def count_batches(material: Material, deal: Deal, epochs: float) -> int:
    """Steps in `epochs` passes (a fraction counts for that share of an epoch)."""

    def steps(number: int) -> int:
        return sum(1 for _ in material.epoch(deal, number))

    whole, part = divmod(epochs, 1)
    total = sum(map(steps, range(int(whole))))
    if part:
        total += round(part * steps(int(whole)))
    return max(1, total)


class BatchStream(torch.utils.data.Sampler[list[Row]]):
    """Exactly `steps` batches, epoch after epoch; each of `world` processes gets its share of every batch.

    The batches are made for all processes together and then dealt out, so a run on two processes takes the
    same steps as a run on one.
    """

    def __init__(self, material: Material, deal: Deal, *, steps: int, rank: int = 0, world: int = 1) -> None:
        self.material, self.deal, self.steps = material, deal, steps
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Row]]:
        left, epoch = self.steps, 0
        while left > 0:
            for batch in self.material.epoch(self.deal, epoch):
                yield batch[self.rank :: self.world]
                left -= 1
                if left == 0:
                    return
            epoch += 1


def pile_of(tokens: TokenFile, pad_id: int, chosen: Sequence[int] | Array | None = None) -> Pile:
    """All examples of a token file, or those `chosen`."""
    return Pile(tokens, np.arange(len(tokens)) if chosen is None else np.asarray(chosen, np.int64), pad_id)
