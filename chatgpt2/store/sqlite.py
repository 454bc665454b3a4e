"""Everything that is true of SQLite only."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from chatgpt2.errors import StoreError

BUSY_SECONDS = 10.0  # how long one program waits for another to finish writing
_WAL_PAUSE = 0.02


def sqlite_engine(url: URL, *, migrating: bool = False) -> AsyncEngine:
    """An engine whose transactions are real ones.

    Python's sqlite3 decides by itself when to begin, and never before a SELECT or a CREATE TABLE; here it
    is told to leave that to us. A migration rebuilds tables by dropping them, which with foreign keys on
    would empty the tables that refer to them.
    """
    engine = create_async_engine(
        url,
        hide_parameters=True,  # they are what was said, and errors get into logs
        connect_args=_connect_args(),
        **({"poolclass": NullPool} if migrating else {}),
    )
    _prepare(engine.sync_engine, migrating)
    return engine


def thread_engine(engine: AsyncEngine, *, writes: bool) -> Engine:
    """The same database for one thread at a time, without an event loop."""
    url = engine.url.set(drivername="sqlite+pysqlite")
    plain = create_engine(url, connect_args={**_connect_args(), "check_same_thread": False})
    _prepare(plain, migrating=False)
    return plain.execution_options(writes=writes)


def _prepare(engine: Engine, migrating: bool) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA foreign_keys={'OFF' if migrating else 'ON'}")
        # FULL: also a power cut loses no finished turn. It costs one fsync for all that is written together.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another wrote between; taking the
        # writer's lock at the beginning makes it wait instead.
        options = connection.get_execution_options()
        if not options.get("plain", False):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


def _connect_args() -> dict[str, Any]:
    args: dict[str, Any] = {"timeout": BUSY_SECONDS, "isolation_level": None}
    if sys.version_info >= (3, 12):
        # With the modern setting (the default from 3.16) sqlite3 begins transactions of its own.
        args["autocommit"] = sqlite3.LEGACY_TRANSACTION_CONTROL
    return args


def file_url(url: URL) -> URL:
    """The URL with `~` resolved. A database in memory is refused: each connection would see its own."""
    if url.database in (None, "", ":memory:") or url.query.get("mode") == "memory":
        raise StoreError("Sessions need a database file: give a URL such as sqlite:///chat.db.")
    return url.set(database=str(Path(str(url.database)).expanduser()))


def make_folder(url: URL) -> None:
    """Make the folder of the database file, and see that the file opens (a `file:` URI is taken as it is).

    When aiosqlite cannot open a file, its thread reports to an event loop that may be gone by then; so this
    is found out without it.
    """
    if url.database and not url.database.startswith("file:"):
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            sqlite3.connect(url.database).close()
        except sqlite3.OperationalError as error:
            raise OperationalError("open", None, error) from error


async def write_ahead(engine: AsyncEngine) -> None:
    """Switch the file to write-ahead logging: readers and the writer no longer wait for each other.

    The switch is kept in the file. When several programs make it at once SQLite says "locked" without
    waiting, whatever the timeout.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        while True:
            try:
                await raw.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise OperationalError("PRAGMA journal_mode=WAL", None, error) from error
                await asyncio.sleep(_WAL_PAUSE)
