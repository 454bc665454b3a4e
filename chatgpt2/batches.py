"""From a token file to batches: the held-out split, length buckets, collation.

A batch holds examples of about the same length and at most `budget` places, counted with padding, so that a
step costs about the same whatever it holds and little of it is padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chatgpt2.tokens import Array, TokenFile

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


def epoch_batches(lengths: Array, examples: Array, budget: int, seed: int, epoch: int) -> Iterator[Array]:
    """The batches of one epoch, in a random order that depends on (seed, epoch) alone."""
    rng = np.random.default_rng((seed, epoch))
    shuffled = rng.permutation(examples)
    for start in range(0, len(shuffled), _POOL * 8):
        batches: list[Array] = []
        for pool in range(start, min(start + _POOL * 8, len(shuffled)), _POOL):
            some = shuffled[pool : pool + _POOL]
            batches += cut_batches(lengths, some[np.argsort(lengths[some], kind="stable")], budget)
        yield from (batches[i] for i in rng.permutation(len(batches)))


def count_batches(lengths: Array, examples: Array, budget: int, seed: int, epochs: float) -> int:
    """Steps in `epochs` passes (a fraction counts for that share of an epoch)."""
    whole, part = divmod(epochs, 1)
    total = sum(sum(1 for _ in epoch_batches(lengths, examples, budget, seed, e)) for e in range(int(whole)))
    if part:
        last = sum(1 for _ in epoch_batches(lengths, examples, budget, seed, int(whole)))
        total += round(part * last)
    return max(1, total)


class BatchStream(torch.utils.data.Sampler[list[int]]):
    """Exactly `steps` batches, epoch after epoch; each of `world` processes gets its share of every batch.

    The batches are made for all processes together and then dealt out, so a run on two processes takes the
    same steps as a run on one.
    """

    def __init__(
        self,
        tokens: TokenFile,
        examples: Array,
        *,
        budget: int,
        steps: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.lengths = np.asarray(tokens.lengths)
        self.examples = examples
        self.budget, self.steps, self.seed = budget, steps, seed
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        left, epoch = self.steps, 0
        while left > 0:
            for batch in epoch_batches(self.lengths, self.examples, self.budget, self.seed, epoch):
                yield batch[self.rank :: self.world].tolist()
                left -= 1
                if left == 0:
                    return
            epoch += 1


class Examples(torch.utils.data.Dataset[Batch]):
    """The examples of a token file as a map-style dataset that collates whole batches at once."""

    def __init__(self, tokens: TokenFile, pad_id: int) -> None:
        self.tokens = tokens
        self.pad_id = pad_id
        self.longest = int(tokens.lengths.max())

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitems__(self, numbers: list[int]) -> Batch:
        return collate(self.tokens, numbers, self.pad_id, self.longest)

    def __getitem__(self, number: int) -> Batch:
        return self.__getitems__([number])


def collate(tokens: TokenFile, numbers: Sequence[int], pad_id: int, limit: int = 0) -> Batch:
    """Pad the examples to the longest of them, rounded up to 8 places but not above `limit`: the fewer
    shapes there are, the fewer kernels a CPU has to prepare and keep.

    Padding is on the right, where no earlier place can see it under causal attention: no mask is needed.
    An empty share (more processes than examples) becomes one row with nothing to learn.
    """
    begins, ends = tokens.offsets[:-1], tokens.offsets[1:]
    longest = max((int(ends[n] - begins[n]) for n in numbers), default=2)
    width = max(longest, min(-(-longest // 8) * 8, limit))
    ids = np.full((max(1, len(numbers)), width), pad_id, dtype=np.int64)
    learn = np.zeros_like(ids, dtype=bool)
    for row, number in enumerate(numbers):
        here = slice(int(begins[number]), int(ends[number]))
        length = here.stop - here.start
        ids[row, :length] = tokens.ids[here]
        # The place before a learned id is the one that predicts it.
        learn[row, : length - 1] = tokens.learn[here][1:]
    places = np.flatnonzero(learn)
    labels = ids.reshape(-1)[places + 1]
    count = sum(int(ends[n] - begins[n]) for n in numbers)
    return Batch(torch.from_numpy(ids), torch.from_numpy(places), torch.from_numpy(labels), count)
