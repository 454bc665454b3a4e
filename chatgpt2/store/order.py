"""One turn at a time in a session, also when several processes share a database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chatgpt2.store.faults import plain_faults
from chatgpt2.store.records import SessionKey

_PAUSE = 0.02  # seconds between two looks at a session that another process has
_TRY, _UNLOCK = text("SELECT pg_try_advisory_lock(:key)"), text("SELECT pg_advisory_unlock(:key)")


class SessionOrder:
    """PostgreSQL's advisory locks, all on one connection: when this process dies they are free at once.

    SQLite serves one process, in which ChatService keeps the order; there it does nothing.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._shared = engine.dialect.name == "postgresql"
        self._connection: AsyncConnection | None = None
        self._speaking = asyncio.Lock()
        self._pending: set[asyncio.Task[None]] = set()

    def alone(self, key: SessionKey) -> AbstractAsyncContextManager[None]:
        """Have the session to oneself. One task of a process at a time may ask for the same session: the database
        would let a second one through. Raises StoreError when the database cannot be reached."""
        return self._locked(key) if self._shared else nullcontext()

    @asynccontextmanager
    async def _locked(self, key: SessionKey) -> AsyncIterator[None]:
        number = _number(key)
        with plain_faults(self._engine.url):
            held_on = await self._lock(number)
        try:
            yield
        finally:
            await asyncio.shield(self._keep(self._unlock(number, held_on)))

    async def close(self) -> None:
        """Give the connection back, and with it every lock."""
        await asyncio.gather(*self._pending)
        async with self._speaking:
            await self._drop()

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.invalidate()
            await connection.close()

    async def _lock(self, number: int) -> AsyncConnection:
        while True:
            # A statement that is cancelled half-way costs the connection, and with it everybody's locks.
            trying = asyncio.create_task(self._try(number))
            try:
                held_on = await asyncio.shield(trying)
            except asyncio.CancelledError:
                self._keep(self._give_up(trying, number))
                raise
            if held_on is not None:
                return held_on
            await asyncio.sleep(_PAUSE)

    async def _try(self, number: int, again: bool = True) -> AsyncConnection | None:
        async with self._speaking:
            try:
                connection = await self._connected()
                return connection if await connection.scalar(_TRY, {"key": number}) else None
            except DBAPIError:
                await self._drop()
                if not again:
                    raise
        return await self._try(number, again=False)  # the server may have restarted

    async def _give_up(self, trying: asyncio.Task[AsyncConnection | None], number: int) -> None:
        with suppress(DBAPIError):
            held_on = await trying
            if held_on is not None:
                await self._unlock(number, held_on)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The loop itself keeps no task alive."""
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    async def _unlock(self, number: int, held_on: AsyncConnection) -> None:
        try:
            async with self._speaking:
                if held_on is self._connection:
                    await held_on.execute(_UNLOCK, {"key": number})
        except DBAPIError:  # a lost connection has let go of its locks
            async with self._speaking:
                await self._drop()

    async def _connected(self) -> AsyncConnection:
        if self._connection is None:
            opened = await self._engine.connect()
            self._connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
        return self._connection


def _number(key: SessionKey) -> int:
    """The lock's name, a signed 64-bit number."""
    parts = "\0".join(("chatgpt2", key.platform, key.account, key.chat, key.thread))
    return int.from_bytes(hashlib.blake2b(parts.encode(), digest_size=8).digest(), "big", signed=True)
