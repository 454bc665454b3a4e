"""Many small pieces of work on a database, done in few transactions.

A statement through an asynchronous driver costs several changes of thread, a transaction on SQLite one wait for the
disk. Here a piece of work is one function of a plain connection: on SQLite whatever is waiting is done in one
transaction, and all that wait for it are told when it is on the disk; PostgreSQL, which gathers commits itself, gives
each piece a transaction of its own.

On SQLite a thread does it. Small work, which takes less than a thread needs to get hold of the interpreter while
others are busy, is done in the event loop's own, and the thread only waits for the disk.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import Connection, Engine, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from chatgpt2.store.prepared import Db
from chatgpt2.store.sqlite import BUSY_SECONDS

T = TypeVar("T")
# Nothing but the database may be changed by it: where other work of its transaction fails it is done again.
Work = Callable[[Connection], T]
SmallWork = Callable[[Db], T]
"""Work of a few statements, all of them prepared."""


class Doing(Protocol):
    """Does work in transactions that are finished when `do` returns. Raises what the work or the database raises."""

    async def do(self, work: Work[T]) -> T: ...
    async def do_small(self, work: SmallWork[T]) -> T: ...
    async def close(self) -> None: ...


class Apart:
    """A transaction for each."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def do(self, work: Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def do_small(self, work: SmallWork[T]) -> T:
        """As `do`: the way to the server is long either way."""
        return await self.do(work)

    async def close(self) -> None:
        """The engine is somebody else's."""


@dataclass(slots=True, eq=False)
class _Piece:
    work: Work[Any]
    answer: asyncio.Future[Any]
    small: bool = False
    doing: asyncio.Future[Any] | None = None


class Together:
    """A transaction for all that waits while the one before it is under way, in the order in which it came.

    writes  it may change something; else small work does not wait for anybody
    alone   is held meanwhile: nobody else of this process begins to write
    """

    def __init__(self, engine: Engine, alone: AbstractAsyncContextManager[Any], *, writes: bool) -> None:
        self._engine, self._alone, self._writes = engine, alone, writes
        self._here = Here(engine)
        self._thread = Worker("chatgpt2-store")
        self._waiting: list[_Piece] = []
        self._running: asyncio.Task[None] | None = None

    async def do(self, work: Work[T]) -> T:
        """As Doing has it. Who is cancelled before the work has begun has done nothing; later it is waited for."""
        return cast("T", await self._put(_Piece(work, asyncio.get_running_loop().create_future())))

    async def do_small(self, work: SmallWork[T]) -> T:
        """As `do`."""
        if self._writes:
            piece = _Piece(work, asyncio.get_running_loop().create_future(), small=True)
            return cast("T", await self._put(piece))
        try:
            return self._here.read(work)
        except Exception:  # the database may be busy; whoever has patience finds out
            return await self.do(work)

    async def _put(self, piece: _Piece) -> Any:
        self._waiting.append(piece)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            return await piece.answer
        except asyncio.CancelledError:
            if piece.doing is not None:
                await asyncio.wait((piece.doing,))
            raise

    async def close(self) -> None:
        """Finish what was begun, and let go of the file."""
        if self._running is not None:
            await self._running
        await asyncio.to_thread(self._thread.close)
        self._here.close()
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
        try:
            self._thread.start()  # before anything is begun that only it can end
        except RuntimeError as full:
            for piece in pieces:
                piece.answer.set_exception(OSError(str(full)))
            return
        works = [piece.work for piece in pieces]
        small = cast("list[SmallWork[Any]]", works)
        done = self._here.begin(small) if all(piece.small for piece in pieces) else None
        doing = self._thread.run(
            partial(self._transactions, works) if done is None else partial(self._commit, done)
        )
        for piece in pieces:
            piece.doing = doing
        for piece, (value, error) in zip(pieces, await doing, strict=True):
            if piece.answer.done():
                continue
            if error is None:
                piece.answer.set_result(value)
            else:
                piece.answer.set_exception(error)

    def _commit(self, done: list[Any]) -> list[tuple[Any, Exception | None]]:
        try:
            self._here.end()
        except DBAPIError as error:
            return [(None, error)] * len(done)
        return [(value, None) for value in done]

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


class Worker:
    """A thread that does one thing after another. As a pool of one, for a third of the way there and back."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Raises RuntimeError when the system has no room for another thread."""
        if self._thread.ident is None:
            self._thread.start()

    def run(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """What the job gives, or raises, when it is done."""
        self.start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((job, future))
        return future

    def close(self) -> None:
        """Wait until all is done."""
        if self._thread.ident is not None:
            self._jobs.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (order := self._jobs.get()) is not None:
            job, future = order
            try:
                settle = partial(_settle, future, job(), None)
            except BaseException as error:
                settle = partial(_settle, future, None, error)
            with suppress(RuntimeError):  # the event loop is gone
                future.get_loop().call_soon_threadsafe(settle)


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


class Here:
    """A connection for small work, used by one at a time, that waits for nobody."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pooled: PoolProxiedConnection | None = None

    def begin(self, works: Sequence[SmallWork[Any]]) -> list[Any] | None:
        """What the works give, in a transaction that is to be ended. None: nothing is done, for another program
        writes, or one of the works fails; whoever does them with patience, one by one, finds out."""
        try:
            driver = self._driver()
            driver.execute("BEGIN IMMEDIATE")
        except (sqlite3.Error, SQLAlchemyError):
            return None
        try:
            return [work(driver) for work in works]
        except Exception:
            self._undo()
            return None

    def read(self, work: SmallWork[T]) -> T:
        """What the work gives, each statement of which sees the database as it is. Raises what it raises."""
        return work(self._driver())

    def end(self) -> None:
        """Write it to the disk. Raises DBAPIError, and nothing is changed then."""
        driver = self._driver()
        try:
            try:
                driver.commit()
            except sqlite3.OperationalError as error:
                # Where the file system knows no write-ahead log, readers have to be waited for. Whatever else it is
                # may have ended the transaction already.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not driver.in_transaction:
                    raise
                self._wait(BUSY_SECONDS)
                try:
                    driver.commit()
                finally:
                    self._wait(0)
        except sqlite3.Error as error:
            self._undo()
            raise DBAPIError("COMMIT", None, error) from error

    def _wait(self, seconds: float) -> None:
        """So long for others who have locked the file."""
        self._driver().execute(f"PRAGMA busy_timeout={1000 * seconds:.0f}")

    def close(self) -> None:
        if self._pooled is not None:
            self._pooled.close()

    def _driver(self) -> sqlite3.Connection:
        if self._pooled is None:
            self._pooled = self._engine.raw_connection()
            self._wait(0)
        return cast("sqlite3.Connection", self._pooled.driver_connection)

    def _undo(self) -> None:
        with suppress(sqlite3.Error):  # a transaction that could not be written is over already
            self._driver().rollback()


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
