"""One turn at a time in a session, also when several processes share a database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from typing import Any, TypeVar

from sqlalchemy import Row, TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chatgpt2.store.faults import plain_faults
from chatgpt2.store.records import SessionKey

T = TypeVar("T")

_NOTHING = nullcontext()
_PAUSE = 0.02  # seconds between two looks at a session that another process has
_LISTEN = 0.5  # seconds between two looks at what other processes ask
_TRY, _UNLOCK = text("SELECT pg_try_advisory_lock(:key)"), text("SELECT pg_advisory_unlock(:key)")
_SUBSCRIBE = text("LISTEN chatgpt2_end")
# An answer brings along what was notified meanwhile, and only an answer does.
_HEAR = text("SELECT 1")
# Told only if another process has the session; pg_locks has the lock's name in two halves.
_END = text("""
    SELECT pg_notify('chatgpt2_end', CAST(:key AS text)) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (CAST(classid AS bigint) << 32 | CAST(objid AS bigint)) = :key
""")


class SessionOrder:
    """PostgreSQL's advisory locks, all on one connection: when this process dies they are free at once. On the same
    one processes tell each other whose reply is to end.

    SQLite serves one process, in which ChatService keeps the order; there it does nothing, and is not `shared`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.shared = engine.dialect.name == "postgresql"
        self._connection: AsyncConnection | None = None
        self._speaking = asyncio.Lock()
        self._pending: set[asyncio.Task[Any]] = set()
        self._ends: dict[str, Callable[[], object]] = {}
        self._listening: asyncio.Task[None] | None = None

    def alone(self, key: SessionKey) -> AbstractAsyncContextManager[None]:
        """Have the session to oneself. One task of a process at a time may ask for the same session: the database
        would let a second one through. Raises StoreError when the database cannot be reached."""
        return self._locked(key) if self.shared else nullcontext()

    @asynccontextmanager
    async def _locked(self, key: SessionKey) -> AsyncIterator[None]:
        number = _number(key)
        with plain_faults(self._engine.url):
            held_on = await self._lock(number)
        try:
            yield
        finally:
            await asyncio.shield(self._keep(self._unlock(number, held_on)))

    def ending(self, key: SessionKey, end: Callable[[], object]) -> AbstractContextManager[None]:
        """Meanwhile, call `end` when another process asks for the session's reply to be ended."""
        return self._told(key, end) if self.shared else _NOTHING

    @contextmanager
    def _told(self, key: SessionKey, end: Callable[[], object]) -> Iterator[None]:
        name = str(_number(key))
        self._ends[name] = end
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            del self._ends[name]

    async def end_elsewhere(self, key: SessionKey) -> bool:
        """Ask the process that has the session to end its reply, which it does within a second. False: none has it.

        Raises StoreError when the database cannot be reached.
        """
        if not self.shared:
            return False
        with plain_faults(self._engine.url):
            return await asyncio.shield(self._keep(self._tell(_number(key))))

    async def close(self) -> None:
        """Give the connection back, and with it every lock."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await asyncio.gather(*self._pending)
        async with self._speaking:
            await self._drop()

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.invalidate()
            await connection.close()

    async def _listen(self) -> None:
        """While there is a reply that could be ended, and not while the connection is lost."""
        while self._ends:
            await asyncio.sleep(_LISTEN)
            with suppress(SQLAlchemyError):
                await self._say(_HEAR)

    def _hear(self, told: Any) -> None:
        """Called by the driver with a notification."""
        if (end := self._ends.get(told.payload)) is not None:
            end()

    async def _tell(self, number: int) -> bool:
        return (await self._say(_END, key=number))[1] is not None

    async def _say(
        self, statement: TextClause, again: bool = True, **values: int
    ) -> tuple[AsyncConnection, Row[Any] | None]:
        """The connection that we keep, and the first row of what the statement gives there. Raises DBAPIError."""
        async with self._speaking:
            try:
                connection = await self._connected()
                return connection, (await connection.execute(statement, values)).first()
            except DBAPIError:
                await self._drop()
                if not again:
                    raise
        return await self._say(statement, again=False, **values)  # the server may have restarted

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

    async def _try(self, number: int) -> AsyncConnection | None:
        connection, row = await self._say(_TRY, key=number)
        return connection if row and row[0] else None

    async def _give_up(self, trying: asyncio.Task[AsyncConnection | None], number: int) -> None:
        with suppress(DBAPIError):
            held_on = await trying
            if held_on is not None:
                await self._unlock(number, held_on)

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
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
            driver: Any = (await opened.get_raw_connection()).driver_connection
            driver.add_notify_handler(self._hear)
            await self._connection.execute(_SUBSCRIBE)
        return self._connection


def _number(key: SessionKey) -> int:
    """The lock's name, a signed 64-bit number."""
    parts = "\0".join(("chatgpt2", key.platform, key.account, key.chat, key.thread))
    return int.from_bytes(hashlib.blake2b(parts.encode(), digest_size=8).digest(), "big", signed=True)
