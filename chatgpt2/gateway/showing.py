"""What a person sees while an answer is in the making: "is typing", and the growing text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from chatgpt2.adapter import Limits, Reply
from chatgpt2.gateway.splitting import fit

_TYPING = 4.0  # seconds that a platform shows it for, a little less
_PATIENCE = 5.0  # seconds for the last preview to end, before the answer is sent

log = logging.getLogger(__name__)


class Pace:
    """How often something is shown in all conversations of a bot together: so many times a second, a second's worth
    of them at once. Whoever waits longest is next."""

    def __init__(self) -> None:
        self._one_by_one = asyncio.Lock()
        self._next = 0.0  # when the bucket, leaking evenly, would be empty: the loop's clock

    async def turn(self, per_second: float, wanted: Callable[[], bool]) -> bool:
        """Wait for a turn. False: when it came, it was not wanted any more, and has gone to the next."""
        async with self._one_by_one:
            if not wanted():
                return False
            now = asyncio.get_running_loop().time()
            if (early := self._next + 1 / per_second - now - 1.0) > 0:
                await asyncio.sleep(early)
            self._next = max(self._next, now) + 1 / per_second
        return True


class Preview:
    """The latest text that is to be shown; those that come faster than the platform takes them are passed over."""

    def __init__(self, reply: Reply, limits: Limits, before: str, pace: Pace) -> None:
        self._reply, self._limits, self._before, self._pace = reply, limits, before, pace
        self._text, self._shown = "", ""
        self._last = -_TYPING
        self._news = asyncio.Event()

    @property
    def fresh(self) -> bool:
        """The person has just seen the text grow."""
        return asyncio.get_running_loop().time() - self._last < _TYPING

    def show(self, text: str) -> None:
        """Show this, soon."""
        if self._limits.preview != "none":
            self._text = fit(self._before + text, self._limits)
            self._news.set()

    async def run(self) -> None:
        """Show texts until cancelled, which lets one that is on its way arrive."""
        push = self._limits.preview == "push"
        while True:
            await self._news.wait()
            self._news.clear()
            if self._text == self._shown:
                continue
            if push:
                await self._pace.turn(self._limits.shows_per_second, lambda: True)
            self._shown, self._last = self._text, asyncio.get_running_loop().time()
            await self._finished(asyncio.ensure_future(self._try(self._shown)))
            await asyncio.sleep(self._limits.preview_interval if push else 0.0)

    async def _try(self, text: str) -> None:
        try:
            await self._reply.preview(text)
        except Exception as error:
            log.warning("a preview failed, which it must not: %r", error)

    async def _finished(self, showing: asyncio.Future[None]) -> None:
        """An edit that arrives after the final text would take its place."""
        try:
            await asyncio.shield(showing)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait({showing}, timeout=_PATIENCE)
            if not done:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)
            raise


@asynccontextmanager
async def showing(reply: Reply, limits: Limits, pace: Pace, before: str = "") -> AsyncIterator[Preview]:
    """While this lasts the person sees that an answer is coming; every preview begins with `before`."""
    preview = Preview(reply, limits, before, pace)
    # The default of Reply does nothing, and would cost others a turn.
    types = getattr(type(reply), "typing", None) is not Reply.typing
    shows = [_type(reply, limits, pace, preview), preview.run()] if types else [preview.run()]
    tasks = [asyncio.create_task(show) for show in shows]
    try:
        yield preview
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _type(reply: Reply, limits: Limits, pace: Pace, preview: Preview) -> None:
    """Show "is typing" for as long as nothing else shows that an answer is coming."""
    typing = False
    try:
        while True:
            if await pace.turn(limits.shows_per_second, lambda: not preview.fresh):
                typing = True
                await _typing(reply, True)
            await asyncio.sleep(_TYPING)
    finally:
        if typing:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await _typing(reply, False)


async def _typing(reply: Reply, on: bool) -> None:
    try:
        await reply.typing(on)
    except Exception as error:
        log.info("typing could not be shown: %s", error)
