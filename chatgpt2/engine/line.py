"""The way from an engine's thread into an event loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from chatgpt2.engine.base import Step
from chatgpt2.errors import EngineError

_BETWEEN_SECONDS = 0.005  # at the least, between two deliveries of tokens to the same event loop

Mailbox = asyncio.Queue[Step | EngineError]
Letter = tuple[Mailbox, Step | EngineError]


class Line:
    """A small model makes a token in a millisecond, and waking the loop for each would take the processor
    from the next. So letters wait for one another, but not longer than a reader could notice, and the end
    of a reply is delivered at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: deque[Letter] = deque()
        self._called = False
        self._delivered = -math.inf

    def soon(self, callback: Callable[[], object]) -> None:
        """Call it when what is ready to run now has run. Called in the loop."""
        self._loop.call_soon(callback)

    def send(self, letters: list[Letter]) -> None:
        """Called by the thread. Raises RuntimeError when the loop is closed."""
        self._letters.extend(letters)
        urgent = any(isinstance(content, EngineError) or content.finish for _, content in letters)
        if urgent or not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._arrive, urgent)

    def _arrive(self, urgent: bool) -> None:
        wait = self._delivered + _BETWEEN_SECONDS - self._loop.time()
        if urgent or wait <= 0:
            self._deliver()
        else:
            self._loop.call_later(wait, self._deliver)

    def _deliver(self) -> None:
        self._called = False  # before the letters are taken, so that one sent from now on calls again
        self._delivered = self._loop.time()
        while self._letters:
            mailbox, content = self._letters.popleft()
            mailbox.put_nowait(content)
