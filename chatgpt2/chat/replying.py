"""A reply in the making: watched for blocked words, for the time it takes, and for somebody who stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from typing import Any, cast

from chatgpt2.chat.words import DECLINED, SPEECHLESS
from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.errors import ReplyStopped, ReplyTimeout
from chatgpt2.interrupt import Interruptible
from chatgpt2.serving import Serving
from chatgpt2.store import SessionKey, SessionOrder

ATTEMPTS = 3  # to get a reply that may be said


class Reply:
    """`text` is what has been said so far. `timeout`: seconds from now in which it has to be finished.

    Whoever makes one begins and closes it.
    """

    def __init__(self, serving: Serving, timeout: float | None, hit: Callable[[str], bool]) -> None:
        self.text, self.serving = "", serving
        self._tokens, self._began = 0, time.monotonic()
        self._hit, self._waiting = hit, Interruptible()
        self._steps: AsyncGenerator[Step] | None = None
        self._clock: asyncio.TimerHandle | None = None
        if timeout is not None:
            late = ReplyTimeout(f"The reply took longer than {timeout:g} seconds.")
            self._clock = asyncio.get_running_loop().call_later(timeout, self._waiting.interrupt, late)

    async def close(self) -> None:
        """Let go of the engine."""
        if self._clock is not None:
            self._clock.cancel()
        if self._steps is not None:
            await self._steps.aclose()

    def stop(self) -> None:
        """End it now, wherever it is: who is waiting for it gets ReplyStopped."""
        self._waiting.interrupt(ReplyStopped("The reply was stopped."))

    def facts(self) -> dict[str, Any]:
        """What is stored beside the text."""
        latency = time.monotonic() - self._began
        return {"model": self.serving.name, "tokens": self._tokens, "latency": latency}

    def begin(self, prompt: list[int], params: SamplingParams, again: bool) -> None:
        """Have the engine answer; `again`: another answer than the last time."""
        self._prompt, self._params, self._again, self._attempts = prompt, params, again, 0
        self._attempt()

    def _attempt(self) -> None:
        varied = vary(self._params, self._attempts, self._again)
        self._attempts += 1
        self.text, self._raw, self._tokens = "", "", 0
        self._decoder = self.serving.codec.decoder()
        # A generator, for it can be closed; the protocol says iterator, as one does for generator methods.
        self._steps = cast("AsyncGenerator[Step]", self.serving.engine.generate(self._prompt, varied))

    async def next(self) -> str | None:
        """The text so far, whenever it has grown. None: `text` is the whole, whose end may not have been given yet.
        A reply that turns out blank, or to hold a blocked word, is generated again.

        Raises ReplyTimeout, ReplyStopped, and what the engine raises.
        """
        while self._steps is not None:
            with self._waiting:  # both the clock and `stop` can end the wait
                step = await anext(self._steps, None)
            if step is not None:
                self._tokens += len(step.ids)
                self._raw += self._decoder.push(step.ids)
            if step is None or step.finish is not None:
                await self._end()
            elif (so_far := self._raw.strip()) != self.text:
                self.text = so_far
                if not self._hit(so_far):
                    return so_far
                await self._end(blocked=True)
        return None

    async def _end(self, blocked: bool = False) -> None:
        """An attempt is over."""
        steps, self._steps = self._steps, None
        if steps is not None:
            await steps.aclose()
        if not blocked:
            self.text = (self._raw + self._decoder.finish()).strip()
            blocked = self._hit(self.text)
        if self.text and not blocked:
            return
        if self._attempts < ATTEMPTS:
            self._attempt()
        else:
            self.text = DECLINED if blocked else SPEECHLESS


class Making:
    """A context, of a reply in the making: known as running to whoever would stop it, and its model is kept."""

    __slots__ = ("_end", "_lease", "_of", "_order", "_reply", "_running", "_session")

    def __init__(
        self,
        running: dict[SessionKey, Reply],
        session: SessionKey,
        lease: AbstractAsyncContextManager[Serving],
        order: SessionOrder,
        reply_of: Callable[[Serving], Reply],
    ) -> None:
        self._running, self._session, self._lease, self._order = running, session, lease, order
        self._of = reply_of
        self._reply: Reply
        self._end: AbstractContextManager[None]

    async def __aenter__(self) -> Reply:
        self._reply = reply = self._running[self._session] = self._of(await self._lease.__aenter__())
        self._end = self._order.ending(self._session, reply.stop)
        self._end.__enter__()
        return reply

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._reply.close()
        finally:
            del self._running[self._session]
            try:
                self._end.__exit__(*error)
            finally:
                await self._lease.__aexit__(*error)


def vary(params: SamplingParams, attempt: int, again: bool = False) -> SamplingParams:
    """A further attempt must not come out as the one before: another seed, and no greedy choice."""
    if attempt == 0 and not again:
        return params
    seed = None if again or params.seed is None else params.seed + attempt
    return replace(params, seed=seed, temperature=params.temperature or SamplingParams().temperature)
