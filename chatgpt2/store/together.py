"""Many small pieces of work on a database, done in few transactions.

A statement through an asynchronous driver costs several changes of thread, a transaction on SQLite one wait for the
disk. Here a piece of work is one function of a plain connection: on SQLite a thread does whatever is waiting in one
transaction, and all that wait for it are told when it is on the disk; PostgreSQL, which gathers commits itself, gives
each piece a transaction of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")
# Nothing but the database may be changed by it: where other work of its transaction fails it is done again.
Work = Callable[[Connection], T]


class Doing(Protocol):
    """Does work in transactions that are finished when `do` returns. Raises what the work or the database raises."""

    async def do(self, work: Work[T]) -> T: ...
    async def close(self) -> None: ...


class Apart:
    """A transaction for each."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def do(self, work: Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """The engine is somebody else's."""


@dataclass(slots=True, eq=False)
class _Piece:
    work: Work[Any]
    answer: asyncio.Future[Any]
    doing: asyncio.Future[Any] | None = None


class Together:
    """A transaction for all that waits while the one before it is under way, in the order in which it came.

    alone  is held meanwhile: nobody else of this process begins to write
    """

    def __init__(self, engine: Engine, alone: AbstractAsyncContextManager[Any]) -> None:
        self._engine, self._alone = engine, alone
        self._thread = ThreadPoolExecutor(1, "chatgpt2-store")
        self._waiting: list[_Piece] = []
        self._running: asyncio.Task[None] | None = None

    async def do(self, work: Work[T]) -> T:
        """As Doing has it. Who is cancelled before the work has begun has done nothing; later it is waited for."""
        piece = _Piece(work, asyncio.get_running_loop().create_future())
        self._waiting.append(piece)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            done: T = await piece.answer
        except asyncio.CancelledError:
            if piece.doing is not None:
                await asyncio.wait((piece.doing,))
            raise
        return done

    async def close(self) -> None:
        """Finish what was begun, and let go of the file."""
        if self._running is not None:
            await self._running
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def _run(self) -> None:
        try:
            while self._waiting:
                async with self._alone:
                    waiting, self._waiting = self._waiting, []
                    await self._do([piece for piece in waiting if not piece.answer.done()])
        finally:
            self._running = None

    async def _do(self, pieces: list[_Piece]) -> None:
        loop = asyncio.get_running_loop()
        doing = loop.run_in_executor(self._thread, self._transactions, [piece.work for piece in pieces])
        for piece in pieces:
            piece.doing = doing
        for piece, (value, error) in zip(pieces, await doing, strict=True):
            if piece.answer.done():
                continue
            if error is None:
                piece.answer.set_result(value)
            else:
                piece.answer.set_exception(error)

    def _transactions(self, works: list[Work[Any]]) -> list[tuple[Any, Exception | None]]:
        """All in one, or, when one of them fails, each in its own."""
        try:
            done = _one_transaction(self._engine, works)
        except _Failed as failed:
            if len(works) > 1:
                return [each for work in works for each in self._transactions([work])]
            return [(None, failed.error)]
        except Exception as error:  # the database failed, and with it all of them
            return [(None, error)] * len(works)
        return [(value, None) for value in done]


class _Failed(Exception):
    """A piece of work failed."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _one_transaction(engine: Engine, works: list[Work[Any]]) -> list[Any]:
    done = []
    with engine.begin() as connection:
        for work in works:
            try:
                done.append(work(connection))
            except Exception as error:
                raise _Failed(error) from error
    return done
