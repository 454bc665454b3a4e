"""The lease of a conversation, as this process knows it."""

from __future__ import annotations

import time
from collections.abc import Callable

from chatgpt2.errors import LeaseLost
from chatgpt2.gateway.desk import Desk
from chatgpt2.store import Mailbox, Queue


class NotHere(Exception):
    """The bot can only be answered for where it receives, and that is not here any more."""


class Hold:
    """Until when nobody else can have taken the conversation over. `began`: by the monotonic clock, before the lease
    was asked for. `answers`: whether this process can answer there at all."""

    def __init__(
        self,
        mailbox: Mailbox | Desk,
        queue: Queue,
        seconds: float,
        began: float,
        answers: Callable[[], bool],
    ) -> None:
        self.queue, self.answers = queue, answers
        self._mailbox, self._seconds, self._until = mailbox, seconds, began + seconds

    def prolonged(self, began: float) -> None:
        """It has been renewed; that was asked for at `began`."""
        self._until = began + self._seconds

    async def check(self) -> None:
        """To be called before anything leaves the process: a machine that stood still may have lost the lease without
        having noticed. Raises LeaseLost then, and StoreError."""
        began = time.monotonic()
        if began < self._until:
            return
        if self.queue.id not in await self._mailbox.renew([self.queue], self._seconds):
            raise LeaseLost(f"Another process answers in conversation {self.queue.id} now.")
        self.prolonged(began)
