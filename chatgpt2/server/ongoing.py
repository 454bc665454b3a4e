"""What is being answered, and its end when the service stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chatgpt2.server.faults import Fault
from chatgpt2.server.passage import Passage

_RETRY_SECONDS = 5  # about what a start takes


class Ongoing:
    """The requests that are being answered."""

    def __init__(self) -> None:
        self._passages: set[Passage] = set()
        self._none_left = asyncio.Event()
        self.stopping = False

    def begin(self, passage: Passage) -> None:
        """Count one, until `end`."""
        self._passages.add(passage)

    def end(self, passage: Passage) -> None:
        self._passages.discard(passage)
        if self.stopping:
            self._note_end()

    def stop(self) -> None:
        """Take no new requests."""
        self.stopping = True
        self._note_end()

    def _note_end(self) -> None:
        if not self._passages:
            self._none_left.set()

    async def finished(self, grace: float) -> None:
        """Wait for those that are running; what is not done after `grace` seconds is cut off."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._none_left.wait()
                return
        self.cut()
        await self._none_left.wait()

    def cut(self) -> None:
        """End what is running now."""
        for passage in self._passages:
            passage.interrupt(stopping())


def stopping() -> Fault:
    """What is told to whoever comes too late."""
    return Fault(503, "The service is stopping: try again soon.", "stopping", retry_after=_RETRY_SECONDS)
