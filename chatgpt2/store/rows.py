"""Rows of sessions and turns, inside a transaction that somebody else holds.

The statements of a turn are made once: making one costs as much as having it done by SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from chatgpt2.store.prepared import Db, Prepared
from chatgpt2.store.records import Removal, SessionKey
from chatgpt2.store.tables import sessions, turns

ACTIVE = turns.c.removed.is_(None)

IS_KEY = and_(
    *(sessions.c[part] == bindparam(f"of_{part}") for part in ("platform", "account", "chat", "thread"))
)
_FIND = select(sessions.c.id).where(IS_KEY).with_for_update()
_TOUCH = Prepared(
    update(sessions).where(IS_KEY).values(last_active=bindparam("now")).returning(sessions.c.id)
)

_NEW = Prepared(
    insert(sessions).returning(sessions.c.id),
    (*("platform", "account", "chat", "thread"), *("settings", "created", "last_active")),
)

OF_SESSION = turns.c.session_id == bindparam("session")
_before = turns.alias()
_NEXT = select(func.coalesce(func.max(_before.c.position) + 1, 0)).where(
    _before.c.session_id == bindparam("session")
)
# The role is written out: a parameter would hide from SQLite that the index of users' messages fits.
_ASKED = Prepared(
    select(turns.c.position)
    .where(OF_SESSION, turns.c.message_id == bindparam("message"), turns.c.role == literal_column("'user'"))
    .limit(1)
)
_REPLY = Prepared(
    select(turns.c.text)
    .where(
        OF_SESSION,
        turns.c.position > bindparam("asked"),
        turns.c.message_id == bindparam("message"),
        turns.c.role == "bot",
    )
    .order_by(turns.c.position.desc())
    .limit(1)
)
_COLUMNS = (
    *("role", "user_id", "text", "message_id", "model", "tokens", "latency"),
    *("created", "removed", "removed_why"),
)
# Rows are added one after another.
_ADD = Prepared(insert(turns).values(position=_NEXT.scalar_subquery()), ("session_id", *_COLUMNS))


def is_key(key: SessionKey) -> ColumnElement[bool]:
    return and_(
        sessions.c.platform == key.platform,
        sessions.c.account == key.account,
        sessions.c.chat == key.chat,
        sessions.c.thread == key.thread,
    )


def of(key: SessionKey) -> dict[str, Any]:
    """What IS_KEY asks for."""
    return {
        "of_platform": key.platform,
        "of_account": key.account,
        "of_chat": key.chat,
        "of_thread": key.thread,
    }


def find(db: Connection, key: SessionKey) -> int | None:
    """The session's row, locked until the transaction ends: who writes to one session writes in turn.
    (SQLite has one lock for the whole file and leaves out FOR UPDATE.)"""
    found: int | None = db.execute(_FIND, of(key)).scalar()
    return found


def claim(db: Db, key: SessionKey, now: datetime) -> int:
    """The session's row, made when it is not there, locked, and marked as active now."""
    found = _TOUCH.one(db, {**of(key), "now": now})
    if found is not None:
        return int(found[0])
    row = {"platform": key.platform, "account": key.account, "chat": key.chat, "thread": key.thread}
    return _create(db, key, row | {"settings": {}, "created": now, "last_active": now})


def _create(db: Db, key: SessionKey, row: Mapping[str, Any]) -> int:
    if isinstance(db, sqlite3.Connection):  # who writes to SQLite is alone
        return int(_NEW.all(db, row)[0][0])
    try:
        with db.begin_nested():
            return int(_NEW.all(db, row)[0][0])
    except IntegrityError:  # PostgreSQL: another process made it between our look and our insert
        found = _TOUCH.one(db, {**of(key), "now": row["last_active"]})
        if found is None:
            raise
        return int(found[0])


def add(db: Db, session: int, *rows: Mapping[str, Any]) -> None:
    place: dict[str, Any] = dict.fromkeys(_COLUMNS) | {"session_id": session, "session": session}
    _ADD.many(db, [{**place, **row} for row in rows])


def remove(db: Connection, session: int, why: Removal, now: datetime, *which: ColumnElement[bool]) -> int:
    chosen = update(turns).where(turns.c.session_id == session, ACTIVE, *which)
    return db.execute(chosen.values(removed=now, removed_why=why)).rowcount


def last_user_turn(db: Connection, session: int) -> tuple[int, str, str | None] | None:
    chosen = (
        select(turns.c.position, turns.c.text, turns.c.message_id)
        .where(turns.c.session_id == session, turns.c.role == "user", ACTIVE)
        .order_by(turns.c.position.desc())
        .limit(1)
    )
    row = db.execute(chosen).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def reply_to(db: Db, session: int, message_id: str | None) -> str | None:
    """The latest reply to a message. That of a new message is looked for in an index, not among the turns."""
    if message_id is None:
        return None
    of = {"session": session, "message": message_id}
    asked = _ASKED.one(db, of)
    found = None if asked is None else _REPLY.one(db, {**of, "asked": asked[0]})
    return None if found is None else str(found[0])
