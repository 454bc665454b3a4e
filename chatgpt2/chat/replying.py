"""A reply in the making: watched for blocked words, for the time it takes, and for somebody who stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from chatgpt2.chat.words import DECLINED, SPEECHLESS
from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.errors import ReplyStopped, ReplyTimeout
from chatgpt2.serving import Serving

ATTEMPTS = 3  # to get a reply that may be said


class Reply:
    """`text` is what has been said so far. `timeout`: seconds from now in which it has to be finished."""

    def __init__(self, model: str | None, timeout: float | None, hit: Callable[[str], bool]) -> None:
        self.text = ""
        self._model, self._tokens, self._began = model, 0, time.monotonic()
        self._timeout, self._hit = timeout, hit
        self._deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        self._waiting: asyncio.Timeout | None = None
        self._stopped = False

    def stop(self) -> None:
        """End it now, wherever it is: who is waiting for it gets ReplyStopped."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    def facts(self) -> dict[str, Any]:
        """What is stored beside the text."""
        return {"model": self._model, "tokens": self._tokens, "latency": time.monotonic() - self._began}

    async def generate(
        self, serving: Serving, prompt: list[int], params: SamplingParams, again: bool
    ) -> AsyncGenerator[str]:
        """Yield the growing text. One that turns out blank, or to hold a blocked word, is generated again.

        Raises ReplyTimeout, ReplyStopped, and what the engine raises.
        """
        blocked = False
        for attempt in range(ATTEMPTS):
            varied = vary(params, attempt, again)
            async with aclosing(self._attempt(serving, prompt, varied)) as texts:
                async for so_far in texts:
                    if blocked := self._hit(so_far):
                        break
                    yield so_far
            blocked = blocked or self._hit(self.text)
            if self.text and not blocked:
                return
        self.text = DECLINED if blocked else SPEECHLESS

    async def _attempt(
        self, serving: Serving, prompt: list[int], params: SamplingParams
    ) -> AsyncGenerator[str]:
        decoder, raw = serving.codec.decoder(), ""
        self.text, self._tokens = "", 0
        # A generator, for it can be closed; the protocol says iterator, as one does for generator methods.
        steps = cast("AsyncGenerator[Step]", serving.engine.generate(prompt, params))
        async with aclosing(steps):
            while (step := await self._next(steps)) is not None:
                self._tokens += len(step.ids)
                raw += decoder.push(step.ids)
                if (
                    so_far := raw.strip()
                ) != self.text and step.finish is None:  # the whole comes when it is stored
                    self.text = so_far
                    yield so_far
        self.text = (raw + decoder.finish()).strip()

    async def _next(self, steps: AsyncGenerator[Step]) -> Step | None:
        """The next step, or None; both the clock and `stop` can end the wait."""
        if self._stopped:
            raise ReplyStopped("The reply was stopped.")
        try:
            async with asyncio.timeout_at(self._deadline) as self._waiting:
                return await anext(steps, None)
        except TimeoutError as error:
            if self._stopped:
                raise ReplyStopped("The reply was stopped.") from error
            if self._waiting is None or not self._waiting.expired():
                raise
            raise ReplyTimeout(f"The reply took longer than {self._timeout:g} seconds.") from error
        finally:
            self._waiting = None


def vary(params: SamplingParams, attempt: int, again: bool = False) -> SamplingParams:
    """A further attempt must not come out as the one before: another seed, and no greedy choice."""
    if attempt == 0 and not again:
        return params
    seed = None if again or params.seed is None else params.seed + attempt
    return replace(params, seed=seed, temperature=params.temperature or SamplingParams().temperature)
