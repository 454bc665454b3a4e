"""What only a server can show: several processes on one database."""

from __future__ import annotations

import subprocess
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from chatgpt2.store import SessionKey, SessionStore
from chatgpt2.store.opening import read_url
from chatgpt2.store.tables import metadata

KEY = SessionKey("web", chat="one")
PROCESSES, EXCHANGES = 10, 4

WRITER = f"""
import asyncio, sys
from chatgpt2.store import SessionKey, SessionStore
import alembic.command
sys.stdin.readline()
async def main():
    async with await SessionStore.open(sys.argv[1]) as store:
        for number in range({EXCHANGES}):
            own, key = f"{{sys.argv[2]}} {{number}}", SessionKey("web", chat="one")
            await store.append(key, own, "好", message_id=own)
            await store.append(key, "都说", "好", message_id=f"same {{number}}")
asyncio.run(main())
"""


async def test_ten_processes_migrate_once_and_write_to_one_session_in_order(postgresql: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, postgresql, str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in started:  # all are ready when the first begins
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * PROCESSES
    async with await SessionStore.open(postgresql) as store:
        record = await store.record(KEY)
    own, shared = PROCESSES * EXCHANGES, EXCHANGES
    assert [turn.position for turn in record] == list(range(2 * (own + shared)))
    assert [turn.role for turn in record] == ["user", "bot"] * (own + shared)
    for number in range(PROCESSES):
        said = [turn.text for turn in record if turn.text.startswith(f"{number} ")]
        assert said == [f"{number} {each}" for each in range(EXCHANGES)]


async def test_migrated_tables_equal_the_models(postgresql: str) -> None:
    async with await SessionStore.open(postgresql):
        pass
    engine = create_engine(read_url(postgresql))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    engine.dispose()
