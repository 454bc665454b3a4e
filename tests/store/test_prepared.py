"""Statements that are given to SQLite's driver as text."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError

from chatgpt2.store import SessionKey, SessionStore
from chatgpt2.store.prepared import Prepared
from chatgpt2.store.sqlite import thread_engine
from chatgpt2.store.tables import sessions

KEY = SessionKey("web", chat="one")
NEW = Prepared(
    insert(sessions).returning(sessions.c.id),
    ("platform", "account", "chat", "thread", "settings", "persona", "created", "last_active"),
)
READ = Prepared(
    select(sessions.c.settings, sessions.c.persona, sessions.c.created)
    .where(sessions.c.chat == bindparam("name"), sessions.c.platform == "web")
    .limit(1)
)


async def test_values_come_back_as_sqlalchemy_gives_them(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    row = {"platform": "web", "account": "", "chat": "one", "thread": "", "created": now, "last_active": now}
    row |= {"settings": {"top_k": 5, "名": "字"}, "persona": None}
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        engine = thread_engine(store._engine, writes=True)

        def usual(db: Connection) -> tuple[object, ...]:
            found = db.execute(select(sessions.c.settings, sessions.c.persona, sessions.c.created))
            return tuple(found.one())

        with engine.begin() as db:
            made = NEW.one(db, row)
            assert made is not None and list(made) == [1]
            assert tuple(READ.one(db, {"name": "one"}) or ()) == usual(db) == (row["settings"], None, now)
            assert READ.one(db, {"name": "two"}) is None
            Prepared(update(sessions).values(persona=bindparam("said"))).many(
                db, [{"said": [["user", "在"]]}]
            )
            assert usual(db)[1] == [["user", "在"]]
        raw = engine.raw_connection()
        assert isinstance(raw.driver_connection, sqlite3.Connection)
        assert tuple(READ.one(raw.driver_connection, {"name": "one"}) or ()) == (
            row["settings"],
            [["user", "在"]],
            now,
        )
        raw.close()
        engine.dispose()


async def test_what_the_driver_refuses_is_an_error_of_the_database(tmp_path: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        engine = thread_engine(store._engine, writes=True)
        with engine.begin() as db:
            now = datetime.now(UTC)
            row = {"platform": "web", "account": "", "chat": "one", "thread": ""}
            row |= {"settings": {}, "persona": None}
            filled = {**row, "created": now, "last_active": now}
            NEW.one(db, filled)
            with pytest.raises(DBAPIError, match="UNIQUE"):
                NEW.one(db, filled)
        with engine.begin() as db, pytest.raises(KeyError):  # a value that is needed and not given
            READ.one(db, {})
        engine.dispose()
