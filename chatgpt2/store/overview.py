"""What an operator may see of a database: how much there is and when, and nothing of what was said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from chatgpt2.store.records import SessionKey
from chatgpt2.store.rows import ACTIVE
from chatgpt2.store.sessions import SessionStore
from chatgpt2.store.tables import sessions, turns


@dataclass(frozen=True, slots=True)
class Activity:
    """A session without its words."""

    key: SessionKey
    created: datetime
    last_active: datetime
    turns: int


async def count_sessions(store: SessionStore, since: datetime | None = None) -> int:
    """How many there are, or were spoken in since."""
    counted = select(func.count()).select_from(sessions)
    if since is not None:
        counted = counted.where(sessions.c.last_active >= since)
    async with store.reading() as db:
        return await db.scalar(counted) or 0


async def latest_activity(store: SessionStore, most: int) -> list[Activity]:
    """The sessions last spoken in. Only their own turns are counted, however many others there are."""
    own = select(func.count()).where(turns.c.session_id == sessions.c.id, ACTIVE).scalar_subquery()
    chosen = (
        select(
            *(sessions.c.platform, sessions.c.account, sessions.c.chat, sessions.c.thread),
            *(sessions.c.created, sessions.c.last_active, own),
        )
        .order_by(sessions.c.last_active.desc(), sessions.c.id.desc())
        .limit(most)
    )
    async with store.reading() as db:
        return [Activity(SessionKey(*row[:4]), *row[4:]) for row in await db.execute(chosen)]
