"""Is the database sound, which revision is it, and a copy of it."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.errors import StoreError
from chatgpt2.store.faults import plain_name
from chatgpt2.store.sessions import SessionStore
from chatgpt2.store.tables import metadata, sessions, turns


async def counts(store: SessionStore) -> dict[str, int]:
    """The rows of every table. Raises StoreError."""
    async with store.reading() as db:
        return {
            table.name: (await db.execute(select(func.count()).select_from(table))).scalar_one()
            for table in metadata.sorted_tables
        }


async def check(store: SessionStore) -> list[str]:
    """What is wrong with the database, a sentence each: damage, a table that differs, half an exchange.

    Raises StoreError when it cannot even be read.
    """
    found: list[str] = []
    async with store.reading() as db:
        if db.dialect.name == "sqlite":
            found += [row[0] for row in await db.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
            for row in await db.execute(text("PRAGMA foreign_key_check")):
                found.append(f"Row {row[1]} of {row[0]} belongs to a row of {row[2]} that is not there.")
        found += await db.run_sync(_differences)
        found += await _half_turns(db)
    return found


def _differences(connection: Connection) -> list[str]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [f"The tables differ from this program's: {each}." for each in compare_metadata(context, metadata)]


async def _half_turns(db: AsyncConnection) -> list[str]:
    """User turns after which no reply stands. An exchange is written whole, so there is none."""
    follows = func.lead(turns.c.role).over(partition_by=turns.c.session_id, order_by=turns.c.position)
    each = select(turns.c.session_id, turns.c.position, turns.c.role, follows.label("next")).subquery()
    alone = (
        select(sessions.c.platform, sessions.c.chat, each.c.position)
        .join(each, each.c.session_id == sessions.c.id)
        .where(each.c.role == "user", func.coalesce(each.c.next, "") != "bot")
    )
    return [
        f"Turn {position} of session {platform}:{chat} has no reply."
        for platform, chat, position in await db.execute(alone)
    ]


async def backup(store: SessionStore, to: Path) -> None:
    """Copy the database, as it is at one moment, while it is in use.

    SQLite: a database file. PostgreSQL: what pg_dump writes in its custom format, for pg_restore. The file is there
    when it is whole. Raises StoreError.
    """
    part = to.with_name(f".{to.name}.part")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        if store.url.get_backend_name() == "sqlite":
            async with store.maintaining() as db:
                await db.execute(text("VACUUM INTO :file"), {"file": str(part)})
        else:
            await _dump(store, part)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(to)
    except OSError as error:
        raise StoreError(f"The backup {to} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


async def _dump(store: SessionStore, to: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise StoreError(
            "Backing up PostgreSQL needs its program pg_dump: install postgresql-client, or let the server's own "
            "backups do it."
        )
    url = store.url.set(drivername="postgresql")
    # The password goes through the environment: other users of the machine can read command lines.
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    plain = url.set(password=None).render_as_string(hide_password=False)
    dumping = await asyncio.create_subprocess_exec(
        *(program, "--format=custom", f"--file={to}", f"--dbname={plain}"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    said = (await dumping.communicate())[1].decode(errors="replace").strip()
    if dumping.returncode:
        last = said.splitlines()[-1] if said else "it said nothing"
        raise StoreError(f"pg_dump could not copy {plain_name(store.url)}: {last}.")
