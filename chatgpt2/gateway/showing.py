"""What a person sees while an answer is in the making: "is typing", and the growing text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from chatgpt2.adapter import Limits, Reply
from chatgpt2.gateway.splitting import fit

_TYPING = 4.0  # seconds that a platform shows it for, a little less
_PATIENCE = 5.0  # seconds for the last preview to end, before the answer is sent

log = logging.getLogger(__name__)


class Preview:
    """The latest text that is to be shown; those that come faster than the platform takes them are passed over."""

    def __init__(self, reply: Reply, limits: Limits, before: str) -> None:
        self._reply, self._limits, self._before = reply, limits, before
        self._text, self._shown = "", ""
        self._news = asyncio.Event()

    def show(self, text: str) -> None:
        """Show this, soon."""
        if self._limits.preview != "none":
            self._text = fit(self._before + text, self._limits)
            self._news.set()

    async def run(self) -> None:
        """Show texts until cancelled, which lets one that is on its way arrive."""
        pause = self._limits.preview_interval if self._limits.preview == "push" else 0.0
        while True:
            await self._news.wait()
            self._news.clear()
            if self._text != self._shown:
                self._shown = self._text
                await self._finished(asyncio.ensure_future(self._try(self._shown)))
                await asyncio.sleep(pause)

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
async def showing(reply: Reply, limits: Limits, before: str = "") -> AsyncIterator[Preview]:
    """While this lasts the person sees that an answer is coming; every preview begins with `before`."""
    preview = Preview(reply, limits, before)
    tasks = [asyncio.create_task(_type(reply)), asyncio.create_task(preview.run())]
    try:
        yield preview
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _type(reply: Reply) -> None:
    try:
        while True:
            await _typing(reply, True)
            await asyncio.sleep(_TYPING)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await _typing(reply, False)


async def _typing(reply: Reply, on: bool) -> None:
    try:
        await reply.typing(on)
    except Exception as error:
        log.info("typing could not be shown: %s", error)
