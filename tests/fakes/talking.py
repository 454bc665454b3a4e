"""A codec and an engine that need no model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import zip_longest

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.errors import PromptError


class Letters:
    """A codec whose ids are code points, and whose prompt is every text joined by "|"."""

    window = 1000
    stop_ids = (0,)
    banned_ids: tuple[int, ...] = (1,)
    vocabulary = ("a",) * 100_000

    def prompt(self, dialogue: Dialogue, room: int, opening: Sequence[Turn] = ()) -> list[int]:
        texts = [turn.text for turn in (*opening, *dialogue.turns)]
        return [ord(letter) for letter in "|".join(texts)][-room:]

    def begin(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decoder(self) -> Letters:
        return self

    def push(self, ids: Iterable[int]) -> str:
        return "".join(map(chr, ids))

    def finish(self) -> str:
        return ""


class Scripted:
    """An engine that gives one reply after another, a letter a step, and remembers what it was asked.

    Of several replies to one prompt each gets its letter in turn.
    """

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, SamplingParams]] = []
        self.running = 0
        self.closed = 0
        self.most = 0
        self.pause: asyncio.Event | None = None

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        if any(not 0 <= token <= sys.maxunicode for token in prompt_ids):
            raise PromptError("an id is outside of the vocabulary")
        self.asked.append(("".join(map(chr, prompt_ids)), params))
        texts = [self.replies.pop(0) if self.replies else f"答{len(self.asked)}" for _ in range(params.n)]
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for letters in zip_longest(*texts):
                await asyncio.sleep(0)
                for index, letter in enumerate(letters):
                    if letter is not None:
                        yield Step([ord(letter)], None, index)
                if self.pause is not None:
                    await self.pause.wait()
            for index in range(params.n):
                yield Step([], "stop", index)
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed += 1
