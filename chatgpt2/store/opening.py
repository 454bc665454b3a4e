"""Open a database and bring its tables up to date."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import URL, Connection, QueuePool, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chatgpt2.errors import StoreError
from chatgpt2.store import sqlite
from chatgpt2.store.faults import plain_faults, plain_name

if TYPE_CHECKING:
    from alembic.config import Config

# The newest file in migrations/versions. Written out here so that opening an up-to-date database need not
# import Alembic; a test compares.
HEAD = "0005"


_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
_LAST_SECONDS, _LAST_PAUSE = 5.0, 0.01  # that transactions have to end
_MIGRATION_LOCK = 0x6368617467707432  # any number that only we use: "chatgpt2" in ASCII


def read_url(given: str) -> URL:
    """The database URL; without a driver (`sqlite:///chat.db`) ours is filled in."""
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise StoreError(f"{given!r} is not a database URL; an example is sqlite:///chat.db.") from error
    if url.drivername not in (*_DRIVERS, *_DRIVERS.values()):
        raise StoreError(f"Sessions cannot be kept in {url.drivername}: use sqlite or postgresql.")
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    return sqlite.file_url(url) if url.get_backend_name() == "sqlite" else url


async def open_engine(url: URL) -> AsyncEngine:
    """An engine on the database at `url`, whose tables are there and up to date."""
    with plain_faults(url):
        if url.get_backend_name() == "sqlite":
            sqlite.make_folder(url)
        engine = _connect(url)
        try:
            if await _revision(engine) != HEAD:
                await _migrate(url)
        except BaseException:
            await engine.dispose()
            raise
    return engine


async def close_engine(engine: AsyncEngine) -> None:
    """Close the connections, when the transactions that are under way have ended: one that came back to a closed pool
    would stay open."""
    pool = cast("QueuePool", engine.pool)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):
            while pool.checkedout():
                await asyncio.sleep(_LAST_PAUSE)
    await engine.dispose()


async def revision_of(url: URL) -> str | None:
    """The revision of the database at `url` as it is, not brought up to date. None: there are no tables yet."""
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        return None
    with plain_faults(url):
        engine = _connect(url)
        try:
            return await _revision(engine)
        finally:
            await engine.dispose()


def _connect(url: URL, *, migrating: bool = False) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        return sqlite.sqlite_engine(url, migrating=migrating)
    try:
        return create_async_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreError(f"PostgreSQL needs a driver that is not installed: {error}.") from error


async def _revision(engine: AsyncEngine) -> str | None:
    async with engine.connect() as connection:
        return await connection.run_sync(_read_revision)


def _read_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


async def _migrate(url: URL) -> None:
    """Bring the tables up to date in one transaction: killed half-way, nothing has happened."""
    engine = _connect(url, migrating=True)
    try:
        if url.get_backend_name() == "sqlite":
            await sqlite.write_ahead(engine)
        async with engine.execution_options(writes=True).begin() as connection:
            await _wait_for_others(connection)
            await connection.run_sync(_upgrade, plain_name(url))
    finally:
        await engine.dispose()


async def _wait_for_others(connection: AsyncConnection) -> None:
    """Several programs that open a new database at once migrate it once (SQLite: BEGIN IMMEDIATE)."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})


def _upgrade(connection: Connection, name: str) -> None:
    found = _read_revision(connection)
    if found == HEAD:  # another program was first
        return
    if found is None and connection.dialect.name == "sqlite" and inspect(connection).get_table_names():
        raise StoreError(f"{name} is the database of another program; give another with --database.")
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"The session database {name} was written by a newer chatgpt2 (its revision {found} is unknown "
            f"here, the newest known is {HEAD}): upgrade chatgpt2, or give another with --database."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def alembic_config() -> Config:
    """Alembic's configuration in code: an installed chatgpt2 has no alembic.ini and no pyproject.toml."""
    from alembic.config import Config

    config = Config()
    folder = str(resources.files("chatgpt2.migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
