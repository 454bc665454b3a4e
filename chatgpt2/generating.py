"""Replies for those who bring their own conversation: pieces of text and ids as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, cast

from chatgpt2.engine.base import Finish, SamplingParams, Step
from chatgpt2.serving import Serving

Ending = Finish | Literal["content_filter"]


@dataclass(frozen=True, slots=True)
class Piece:
    """New text of one reply, and the ids that the engine gave since the last piece.

    `finish` is OpenAI's "content_filter" where the reply was cut or replaced, for it may not be said.
    """

    index: int
    text: str
    ids: list[int]
    finish: Ending | None


class Stops:
    """Text up to the string that is complete first. What might be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.hit = False

    def push(self, text: str, last: bool = False) -> str:
        """What may be shown of the text so far. Nothing comes after a hit."""
        if self.hit:
            return ""
        text = self._held + text
        found = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)[1]]
        keep = 0 if last else max((_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _begun(text: str, stop: str) -> int:
    """How many letters at the end of the text begin the stop string."""
    return next(
        (size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0
    )


class _Reply:
    """One of the replies to a prompt."""

    def __init__(self, serving: Serving, stops: Iterable[str]) -> None:
        self._decoder = serving.codec.decoder()
        self._stops = Stops(list(stops))
        self.ended = False

    def take(self, step: Step) -> Piece:
        text = self._decoder.push(step.ids)
        if step.finish:
            text += self._decoder.finish()
        text = self._stops.push(text, last=step.finish is not None)
        finish: Finish | None = "stop" if self._stops.hit else step.finish
        self.ended = finish is not None
        return Piece(step.index, text, step.ids, finish)


async def generate(
    serving: Serving, prompt: list[int], params: SamplingParams, stops: Sequence[str] = ()
) -> AsyncGenerator[Piece]:
    """The pieces of `params.n` replies. Each has one with `finish`, which is its last.

    Raises EngineError; closing the iterator stops the engine.
    """
    replies = [_Reply(serving, stops) for _ in range(params.n)]
    # A generator, for it can be closed; the protocol says iterator, as one does for generator methods.
    steps = cast("AsyncGenerator[Step]", serving.engine.generate(prompt, params))
    async with aclosing(steps):
        async for step in steps:
            reply = replies[step.index]
            if reply.ended:
                continue
            yield reply.take(step)
            if all(each.ended for each in replies):
                return
