"""What finished replies leave behind, so that the next turn of a conversation need not be read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from chatgpt2.engine.gpt2 import Saved


class Prefixes:
    """The most recently used sequences, up to `tokens` tokens in all."""

    def __init__(self, tokens: int) -> None:
        self._limit = tokens
        self._saved: OrderedDict[tuple[int, ...], Saved] = OrderedDict()  # oldest first
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._saved)

    def wants(self, length: int) -> bool:
        """Whether a sequence of `length` tokens would be kept at all."""
        return 0 < length <= self._limit

    def keep(self, saved: Saved) -> None:
        """Remember a sequence; what it continues is dropped, then the longest unused."""
        for ids in [ids for ids in self._saved if saved.ids[: len(ids)] == ids]:
            self._drop(ids)
        self._saved[saved.ids] = saved
        self.tokens += len(saved.ids)
        while self.tokens > self._limit:
            self._drop(next(iter(self._saved)))

    def longest(self, ids: Sequence[int]) -> tuple[Saved | None, int]:
        """The sequence that shares the most leading ids with `ids`, and how many."""
        best, shared = None, 0
        for saved in self._saved.values():
            length = common_length(saved.ids, ids)
            if length > shared:
                best, shared = saved, length
        if best is not None:
            self._saved.move_to_end(best.ids)
        return best, shared

    def clear(self) -> None:
        self._saved.clear()
        self.tokens = 0

    def _drop(self, ids: tuple[int, ...]) -> None:
        del self._saved[ids]
        self.tokens -= len(ids)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading items are equal."""
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
