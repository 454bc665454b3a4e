"""What is being answered, and its end when the service stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chatgpt2.server.faults import Fault
from chatgpt2.server.passage import Passage

_TICK = 0.05  # seconds
_RETRY_SECONDS = 5  # about what a start takes


class Ongoing:
    """The requests that are being answered. One clock looks at all of them: a timer for each would cost each as much
    as a statement of the database."""

    def __init__(self) -> None:
        self._clock: asyncio.TimerHandle | None = None
        self._passages: set[Passage] = set()
        self._none_left = asyncio.Event()
        self.stopping = False

    def begin(self, passage: Passage) -> None:
        """Count one, until `end`, and look after its time."""
        self._passages.add(passage)
        if self._clock is None:
            self._clock = asyncio.get_running_loop().call_later(_TICK, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for passage in self._passages:
            passage.look(now)
        self._clock = loop.call_later(_TICK, self._look) if self._passages else None

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
