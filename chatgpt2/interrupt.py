"""Work that somebody else may end, with a reason that its caller gets."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class Interruptible:
    """A context, to be entered around each wait. `interrupt` cancels what is waited for, and the reason is raised in
    place of the cancellation. As asyncio.timeout, without the clock and for a fraction of what that costs.
    """

    __slots__ = ("_before", "_cancelled", "_task", "reason")

    def __init__(self) -> None:
        self.reason: Exception | None = None
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._cancelled = False

    def interrupt(self, reason: Exception) -> None:
        """End the work now, or as it begins. The first reason counts. Not to be called by the work itself."""
        if self.reason is not None:
            return
        self.reason = reason
        if self._task is not None:
            self._cancelled = True
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
        if not self._cancelled or task is None:
            return
        self._cancelled = False
        # Somebody else may have cancelled the task meanwhile: that goes on as it is.
        if task.uncancel() <= self._before and kind is asyncio.CancelledError:
            assert self.reason is not None
            raise self.reason from error
