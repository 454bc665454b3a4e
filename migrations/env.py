"""Run the migrations, from the program (a connection is handed over) or by a developer.

    CHATGPT2_DATABASE=sqlite:///scratch.db alembic revision --autogenerate --rev-id 0002 -m "what changes"

The database is opened, and so brought up to date, by the program's own code first.
"""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from chatgpt2.store.opening import open_engine, read_url
from chatgpt2.store.tables import metadata


def run_migrations(connection: Connection) -> None:
    # Batch mode: SQLite cannot alter most things of a table, so Alembic makes a new one and copies.
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


async def run_as_developer(url: str) -> None:
    engine = await open_engine(read_url(url))
    try:
        async with engine.execution_options(writes=True).begin() as connection:
            await connection.run_sync(run_migrations)
    finally:
        await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    run_migrations(given)
elif "CHATGPT2_DATABASE" in os.environ:
    asyncio.run(run_as_developer(os.environ["CHATGPT2_DATABASE"]))
else:
    raise SystemExit("Set CHATGPT2_DATABASE to the database to work on, for example sqlite:///scratch.db")
