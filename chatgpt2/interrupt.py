"""Work that somebody else may end, with a reason that its caller gets."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class Interruptible:
    """A context, to be entered around each wait. `interrupt` cancels what is waited for, and the reason is raised in
    place of the cancellation. As asyncio.timeout, without the clock and for a fraction of what that costs.
    """

    __slots__ = ("_before", "_cancels", "_task", "reason")

    def __init__(self) -> None:
        self.reason: Exception | None = None
        self._task: asyncio.Task[Any] | None = None
        self._before = self._cancels = 0

    def interrupt(self, reason: Exception) -> None:
        """End the work now, or as it begins; again, what it does to clean up. The first reason counts. Not to be
        called by the work itself."""
        self.reason = self.reason or reason
        if self._task is not None:
            self._cancels += 1
            self._task.cancel()

    def __enter__(self) -> Self:
        if self.reason is not None:
            raise self.reason
        self._task = task = asyncio.current_task()
        assert task is not None, "there is something to interrupt in tasks only"
        self._before = task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        left = task.cancelling()
        for _ in range(self._cancels):
            left = task.uncancel()
        interrupted, self._cancels = self._cancels > 0, 0
        # Somebody else may have cancelled the task meanwhile: that goes on as it is.
        if interrupted and left <= self._before and kind is asyncio.CancelledError:
            assert self.reason is not None
            raise self.reason from error
