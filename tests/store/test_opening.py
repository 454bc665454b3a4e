from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Connection, MetaData, create_engine, insert, select, text

from chatgpt2.errors import StoreError
from chatgpt2.store import SessionKey, SessionStore, opening, sqlite
from chatgpt2.store.opening import HEAD, alembic_config, read_url
from chatgpt2.store.tables import metadata
from chatgpt2.store.upkeep import check

KEY = SessionKey("terminal", chat="default")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


async def make(file: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{file}") as store:
        await store.append(KEY, "你好", "你好呀")


def run(file: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute(sql).fetchall()
        connection.commit()
    finally:
        connection.close()
    return rows


def test_the_constant_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]


async def test_migrated_tables_equal_the_models(file: Path) -> None:
    await make(file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def older() -> list[str]:
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return [script.revision for script in scripts if script.revision != HEAD]


def value_of(column: Column[Any]) -> Any:
    """Something that fits into the column, and is found again there."""
    if column.foreign_keys or column.name == "id":
        return 7
    if isinstance(column.type, JSON):
        return [["user", "你好"]]
    if column.name == "role":
        return "bot"  # what a user said would want a reply
    if column.type.python_type is str:
        return column.name
    return {datetime: datetime(2026, 1, 2), bool: True, float: 0.5}.get(column.type.python_type, 3)


def rows_of(connection: Connection, tables: MetaData) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
        for table in tables.sorted_tables
    }


@pytest.mark.parametrize("revision", older())
async def test_an_older_database_is_upgraded_with_what_is_in_every_table(
    url: str, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(opening, "HEAD", revision)
        await (await SessionStore.open(url)).close()
    engine, tables = create_engine(url.replace("postgresql:", "postgresql+psycopg:")), MetaData()
    tables.reflect(engine)
    with engine.begin() as db:
        assert db.execute(tables.tables["alembic_version"].select()).scalar() == revision
        tables.remove(tables.tables["alembic_version"])
        for table in tables.sorted_tables:
            db.execute(insert(table).values({column.name: value_of(column) for column in table.c}))
        before = rows_of(db, tables)
    assert len(before) > 1 and all(len(rows) == 1 for rows in before.values())
    async with await SessionStore.open(url) as store:
        assert await check(store) == []
        [turn] = await store.record(SessionKey("platform", "account", "chat", "thread"))
        assert (turn.role, turn.text) == ("bot", "text")
        with engine.connect() as db:
            assert db.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [HEAD]
            assert rows_of(db, tables) == before
        await store.append(KEY, "你好", "你好呀")
        assert len(await store.load(KEY)) == 2
    engine.dispose()


async def test_a_new_file_is_made_with_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b 100%" / "chat.db"
    await make(file)
    assert run(file, "PRAGMA journal_mode") == [("wal",)]
    assert run(file, "SELECT version_num FROM alembic_version") == [(HEAD,)]


async def test_foreign_keys_hold_and_transactions_begin(file: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{file}") as store, store.reading() as db:
        assert (await db.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1
        assert (await db.exec_driver_sql("PRAGMA synchronous")).scalar() == 2
        assert (await db.exec_driver_sql("PRAGMA busy_timeout")).scalar() == sqlite.BUSY_SECONDS * 1000
        raw = (await db.get_raw_connection()).driver_connection
        assert raw is not None and raw.in_transaction


async def test_opening_again_keeps_everything_and_needs_no_alembic(file: Path) -> None:
    await make(file)
    script = (
        "import asyncio, sys\n"
        "from chatgpt2.store import SessionStore, SessionKey\n"
        "async def main():\n"
        "    async with await SessionStore.open(sys.argv[1]) as store:\n"
        "        print(len(await store.load(SessionKey('terminal', chat='default'))))\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"sqlite:///{file}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False", "False"]


def test_ten_processes_migrate_a_new_file_once(file: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from chatgpt2.store import SessionStore, SessionKey\n"
        "import alembic.command\n"
        "sys.stdin.readline()\n"
        "async def main():\n"
        "    async with await SessionStore.open(sys.argv[1]) as store:\n"
        "        await store.append(SessionKey('terminal', chat='default'), '你好', '你好呀')\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{file}"]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(10)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * 10
    assert run(file, "SELECT count(*), max(position) FROM turns") == [(20, 19)]
    assert run(file, "SELECT count(*) FROM alembic_version") == [(1,)]


async def test_a_failed_migration_leaves_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    def upgrade_and_fail(*args: object) -> None:
        original(*args)  # type: ignore[arg-type]
        raise StoreError("the power went")

    original = command.upgrade
    monkeypatch.setattr(command, "upgrade", upgrade_and_fail)
    with pytest.raises(StoreError, match="the power went"):
        await make(file)
    assert run(file, "SELECT name FROM sqlite_master") == []
    monkeypatch.setattr(command, "upgrade", original)
    await make(file)


async def test_a_database_from_a_newer_version(file: Path) -> None:
    await make(file)
    run(file, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"chat\.db was written by a newer chatgpt2 .*9999"):
        await make(file)
    assert run(file, "SELECT count(*) FROM turns") == [(2,)]


async def test_a_file_that_is_no_database(file: Path) -> None:
    file.write_text("这不是数据库" * 1000, encoding="utf-8")
    with pytest.raises(StoreError, match=r"chat\.db is not a session database"):
        await make(file)


async def test_the_database_of_another_program(file: Path) -> None:
    run(file, "CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreError, match=r"chat\.db is the database of another program"):
        await make(file)
    assert run(file, "SELECT name FROM sqlite_master") == [("bookmarks",)]


async def test_a_folder_in_the_place_of_the_file(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StoreError, match=r"chat\.db cannot be opened"):
        await make(file)


async def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(StoreError, match="cannot be reached"):
        await make(tmp_path / "folder" / "chat.db")


async def test_a_read_only_database(file: Path) -> None:
    await make(file)
    async with await SessionStore.open(f"sqlite:///file:{file}?mode=ro&uri=true") as store:
        assert len(await store.load(KEY)) == 2
        with pytest.raises(StoreError, match="is read-only"):
            await store.append(KEY, "你好", "你好呀")


async def test_a_locked_database(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    await make(file)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with await SessionStore.open(f"sqlite:///{file}") as store:
        with pytest.raises(StoreError, match="is locked by another program"):
            await store.append(KEY, "再说", "一次")
        other.execute("ROLLBACK")
        other.close()
        await store.append(KEY, "再说", "一次")
        assert len(await store.load(KEY)) == 4


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("chat.db", "is not a database URL"),
        ("mysql://localhost/chat", "cannot be kept in mysql"),
        ("sqlite+pysqlite:///chat.db", "use sqlite or postgresql"),
        ("sqlite://", "need a database file"),
        ("sqlite:///:memory:", "need a database file"),
    ],
)
async def test_urls_that_cannot_work(given: str, problem: str) -> None:
    with pytest.raises(StoreError, match=problem):
        await SessionStore.open(given)


def test_drivers_are_filled_in() -> None:
    assert read_url("sqlite:///chat.db").drivername == "sqlite+aiosqlite"
    assert read_url("postgresql://me:secret@host/chat").drivername == "postgresql+psycopg"
