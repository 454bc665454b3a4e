"""Rows of sessions and turns, inside a transaction that somebody else holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.records import Removal, SessionKey
from chatgpt2.store.tables import sessions, turns

ACTIVE = turns.c.removed.is_(None)


def is_key(key: SessionKey) -> ColumnElement[bool]:
    return and_(
        sessions.c.platform == key.platform,
        sessions.c.account == key.account,
        sessions.c.chat == key.chat,
        sessions.c.thread == key.thread,
    )


async def find(db: AsyncConnection, key: SessionKey) -> int | None:
    """The session's row, locked until the transaction ends: who writes to one session writes in turn.
    (SQLite has one lock for the whole file and leaves out FOR UPDATE.)"""
    found: int | None = await db.scalar(select(sessions.c.id).where(is_key(key)).with_for_update())
    return found


async def claim(db: AsyncConnection, key: SessionKey, now: datetime) -> int:
    """The session's row, made when it is not there, and marked as active now."""
    session = await find(db, key)
    if session is None:
        session = await create(db, key, now)
    await db.execute(update(sessions).where(sessions.c.id == session).values(last_active=now))
    return session


async def create(db: AsyncConnection, key: SessionKey, now: datetime) -> int:
    row = {"platform": key.platform, "account": key.account, "chat": key.chat, "thread": key.thread}
    new = insert(sessions).values(**row, settings={}, created=now, last_active=now)
    try:
        async with db.begin_nested():
            made: int = (await db.execute(new.returning(sessions.c.id))).scalar_one()
            return made
    except IntegrityError:  # PostgreSQL: another process made it between our look and our insert
        session = await find(db, key)
        if session is None:
            raise
        return session


async def add(db: AsyncConnection, session: int, *rows: Mapping[str, Any]) -> None:
    highest = select(func.coalesce(func.max(turns.c.position), -1)).where(turns.c.session_id == session)
    position = (await db.execute(highest)).scalar_one() + 1
    for offset, row in enumerate(rows):
        await db.execute(insert(turns).values(**row, session_id=session, position=position + offset))


async def remove(
    db: AsyncConnection, session: int, why: Removal, now: datetime, *which: ColumnElement[bool]
) -> int:
    chosen = update(turns).where(turns.c.session_id == session, ACTIVE, *which)
    return (await db.execute(chosen.values(removed=now, removed_why=why))).rowcount


async def last_user_turn(db: AsyncConnection, session: int) -> tuple[int, str, str | None] | None:
    chosen = (
        select(turns.c.position, turns.c.text, turns.c.message_id)
        .where(turns.c.session_id == session, turns.c.role == "user", ACTIVE)
        .order_by(turns.c.position.desc())
        .limit(1)
    )
    row = (await db.execute(chosen)).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


async def reply_to(
    db: AsyncConnection, session: int | ColumnElement[Any], message_id: str | None
) -> str | None:
    if message_id is None:
        return None
    chosen = (
        select(turns.c.text)
        .where(turns.c.session_id == session, turns.c.message_id == message_id, turns.c.role == "bot")
        .order_by(turns.c.position.desc())
        .limit(1)
    )
    found: str | None = await db.scalar(chosen)
    return found
