"""One turn at a time in a session."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from chatgpt2.store import SessionKey, SessionOrder


class Place:
    """The lock of a session that somebody is in or waits for; `users` are so many."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock, self.users = asyncio.Lock(), 0


class Alone:
    """A context in which one has the session to oneself: among the tasks of this process, then among processes.

    places  of the sessions that somebody is in; one that nobody needs any more is taken out
    """

    __slots__ = ("_held", "_order", "_others", "_place", "_places", "_session")

    def __init__(self, places: dict[SessionKey, Place], session: SessionKey, order: SessionOrder) -> None:
        self._places, self._session, self._order = places, session, order
        self._others: AbstractAsyncContextManager[Any] | None = None
        self._held = False
        if (place := places.get(session)) is None:
            place = places[session] = Place()
        self._place = place

    async def __aenter__(self) -> None:
        self._place.users += 1
        try:
            self._held = await self._place.lock.acquire()
            if self._order.shared:
                others = self._order.alone(self._session)
                await others.__aenter__()
                self._others = others
        except BaseException:  # also who is cancelled while waiting does so no more
            self._leave()
            raise

    async def __aexit__(self, *error: Any) -> None:
        try:
            if self._others is not None:
                await self._others.__aexit__(*error)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._held:
            self._place.lock.release()
        self._place.users -= 1
        if not self._place.users:
            del self._places[self._session]
