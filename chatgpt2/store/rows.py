"""Rows of sessions and turns, inside a transaction that somebody else holds.

The statements of a turn are made once: making one costs as much as having it done by SQLite.
"""

from __future__ import annotations

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

from chatgpt2.store.records import Removal, SessionKey
from chatgpt2.store.tables import sessions, turns

ACTIVE = turns.c.removed.is_(None)

IS_KEY = and_(
    *(sessions.c[part] == bindparam(f"of_{part}") for part in ("platform", "account", "chat", "thread"))
)
_FIND = select(sessions.c.id).where(IS_KEY).with_for_update()
_TOUCH = update(sessions).where(IS_KEY).values(last_active=bindparam("now")).returning(sessions.c.id)

OF_SESSION = turns.c.session_id == bindparam("session")
_before = turns.alias()
_NEXT = select(func.coalesce(func.max(_before.c.position) + 1, 0)).where(
    _before.c.session_id == bindparam("session")
)
_ADD = insert(turns).values(position=_NEXT.scalar_subquery())  # rows are added one after another
# The role is written out: a parameter would hide from SQLite that the index of users' messages fits.
_ASKED = (
    select(turns.c.position)
    .where(OF_SESSION, turns.c.message_id == bindparam("message"), turns.c.role == literal_column("'user'"))
    .limit(1)
)
_REPLY = (
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


def claim(db: Connection, key: SessionKey, now: datetime) -> int:
    """The session's row, made when it is not there, locked, and marked as active now."""
    found: int | None = db.execute(_TOUCH, {**of(key), "now": now}).scalar()
    return _create(db, key, now) if found is None else found


def _create(db: Connection, key: SessionKey, now: datetime) -> int:
    row = {"platform": key.platform, "account": key.account, "chat": key.chat, "thread": key.thread}
    new = insert(sessions).values(**row, settings={}, created=now, last_active=now)
    try:
        with db.begin_nested():
            made: int = db.execute(new.returning(sessions.c.id)).scalar_one()
            return made
    except IntegrityError:  # PostgreSQL: another process made it between our look and our insert
        session: int | None = db.execute(_TOUCH, {**of(key), "now": now}).scalar()
        if session is None:
            raise
        return session


def add(db: Connection, session: int, *rows: Mapping[str, Any]) -> None:
    place: dict[str, Any] = dict.fromkeys(_COLUMNS) | {"session_id": session, "session": session}
    db.execute(_ADD, [{**place, **row} for row in rows])


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


def reply_to(db: Connection, session: int, message_id: str | None) -> str | None:
    """The latest reply to a message. That of a new message is looked for in an index, not among the turns."""
    if message_id is None:
        return None
    of = {"session": session, "message": message_id}
    asked = db.execute(_ASKED, of).scalar()
    found: str | None = None if asked is None else db.execute(_REPLY, {**of, "asked": asked}).scalar()
    return found
