"""One database: opened, asked and closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Literal, Self, TypeVar, cast

from sqlalchemy import URL, QueuePool, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chatgpt2.errors import StoreError
from chatgpt2.store.faults import plain_faults, plain_name
from chatgpt2.store.opening import close_engine, open_engine, read_url
from chatgpt2.store.sqlite import thread_engine
from chatgpt2.store.together import Apart, Doing, SmallWork, T, Together, Work

W = TypeVar("W")
Kind = Literal["read", "write"]
Observe = Callable[[Kind, float], object]


class Database:
    """The connections to a database, and who may use them when. Open it with `await Database.open(url)`.

    Every method raises StoreError when the database fails.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(writes=True)
        self._one_writer: AbstractAsyncContextManager[Any] = nullcontext()
        self._reader: Doing = Apart(engine)
        self._changer: Doing = Apart(self._writer)
        if engine.dialect.name == "sqlite":
            # SQLite makes a waiting writer sleep and look again; our own writers can be woken in turn.
            self._one_writer = asyncio.Lock()
            self._reader = Together(thread_engine(engine, writes=False), nullcontext(), writes=False)
            self._changer = Together(thread_engine(engine, writes=True), self._one_writer, writes=True)
        self._observe: Observe = lambda kind, seconds: None
        self._plain_faults = plain_faults(engine.url)
        self._closed = False

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open, create or migrate the database at `url`."""
        return cls(await open_engine(read_url(url)))

    async def close(self) -> None:
        """Close the connections. Who asks from now on gets StoreError; who is in a transaction may end it."""
        self._closed = True
        await self._reader.close()
        await self._changer.close()
        await close_engine(self._engine)

    @property
    def url(self) -> URL:
        """Where the database is."""
        return self._engine.url

    @property
    def connections(self) -> int:
        """How many of the pool are in use."""
        return cast("QueuePool", self._engine.pool).checkedout()

    def measure(self, observe: Observe) -> None:
        """Tell `observe` the seconds of each transaction, with the wait for its turn, and what is done in it."""
        self._observe = observe

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def ping(self) -> None:
        """Raises StoreError when the database does not answer."""
        async with self.reading() as db:
            await db.execute(select(1))

    async def read(self, work: Work[T]) -> T:
        """Do a piece of work that only reads; see Together."""
        return await self._observed("read", self._reader.do, work)

    async def write(self, work: Work[T]) -> T:
        """Do a piece of work that writes, together with what else is waiting; see Together."""
        return await self._observed("write", self._changer.do, work)

    async def read_small(self, work: SmallWork[T]) -> T:
        """As `read`, of a few prepared statements."""
        return await self._observed("read", self._reader.do_small, work)

    async def write_small(self, work: SmallWork[T]) -> T:
        """As `write`, of a few prepared statements."""
        return await self._observed("write", self._changer.do_small, work)

    async def _observed(self, kind: Kind, do: Callable[[W], Awaitable[T]], work: W) -> T:
        began = time.perf_counter()
        try:
            with self._faults():
                return await do(work)
        finally:
            self._observe(kind, time.perf_counter() - began)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        began = time.perf_counter()
        try:
            with self._faults():
                async with self._engine.connect() as connection:
                    yield connection
        finally:
            self._observe("read", time.perf_counter() - began)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        began = time.perf_counter()
        try:
            with self._faults():
                async with self._one_writer, self._writer.begin() as connection:
                    yield connection
        finally:
            self._observe("write", time.perf_counter() - began)

    @asynccontextmanager
    async def maintaining(self) -> AsyncIterator[AsyncConnection]:
        """A connection outside any transaction, as VACUUM needs it."""
        sqlite = self._engine.dialect.name == "sqlite"
        how = {"plain": True} if sqlite else {"isolation_level": "AUTOCOMMIT"}
        with self._faults():
            async with self._one_writer, self._engine.execution_options(**how).connect() as connection:
                yield connection

    def _faults(self) -> plain_faults:
        if self._closed:  # the pool would open new connections, and nobody close them
            raise StoreError(f"The session database {plain_name(self._engine.url)} has been closed.")
        return self._plain_faults
