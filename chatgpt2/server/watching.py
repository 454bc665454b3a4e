"""Replies without blocked words, for those who bring their own conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from chatgpt2.chat import BlockedWords
from chatgpt2.chat.replying import ATTEMPTS
from chatgpt2.chat.words import DECLINED
from chatgpt2.generating import Piece

Ask = Callable[[int, int], AsyncGenerator[Piece]]
"""The pieces of so many replies, from the attempt with this number and the count of replies."""


class _Watch:
    """One attempt at one reply: what of it may be shown.

    growing  show it as it comes, all but what may turn out to be of a blocked word; else when it is whole
    """

    def __init__(self, blocked: BlockedWords, growing: bool) -> None:
        self._blocked, self._growing = blocked, growing
        self._text, self._ids, self._shown = "", list[int](), 0
        self.over = self.hit = False

    @property
    def in_vain(self) -> bool:
        """Nothing of it was shown, so that another can stand in its place."""
        return self.hit and not self._shown

    def take(self, piece: Piece) -> Piece | None:
        """What may be shown now that this piece has come."""
        if self.over:
            return None
        self._text += piece.text
        self._ids += piece.ids
        self.hit = self._blocked.hit(self._text, more=piece.finish is None)
        self.over = self.hit or piece.finish is not None
        if self.hit:
            return replace(piece, text="", ids=[], finish="content_filter") if self._shown else None
        return self._show(piece)

    def _show(self, piece: Piece) -> Piece | None:
        end = len(self._text)
        if not self.over:
            end = end - self._blocked.held(self._text) if self._growing else 0
        if end <= self._shown and not self.over:
            return None
        text, self._shown = self._text[self._shown : end], end
        ids, self._ids = self._ids, []
        return replace(piece, text=text, ids=ids)


async def watched(ask: Ask, count: int, blocked: BlockedWords, growing: bool) -> AsyncGenerator[Piece]:
    """The pieces of `count` replies. One with a blocked word is generated again, and in the end replaced; where some
    of it is out already, it ends before the word.

    Raises what `ask` raises.
    """
    left = list(range(count))
    for attempt in range(ATTEMPTS):
        watches = [_Watch(blocked, growing) for _ in left]
        async with aclosing(ask(attempt, len(left))) as pieces:
            async for piece in pieces:
                if (shown := watches[piece.index].take(piece)) is not None:
                    yield replace(shown, index=left[piece.index])
                if all(watch.over for watch in watches):
                    break
        left = [index for index, watch in zip(left, watches, strict=True) if watch.in_vain]
        if not left:
            return
    for index in left:
        yield _polite(index)


async def declined(count: int) -> AsyncGenerator[Piece]:
    """What is answered to a message that holds a blocked word."""
    for index in range(count):
        yield _polite(index)


def _polite(index: int) -> Piece:
    return Piece(index, DECLINED, [], "content_filter")
