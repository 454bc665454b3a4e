"""Deleting for good: a person, or what is older than it may be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.mail_tables import inbox, outbox, queues
from chatgpt2.store.people import Person, is_on, sessions_of
from chatgpt2.store.sessions import SessionStore
from chatgpt2.store.tables import feedback, metadata, sessions, turns
from chatgpt2.store.traces import erase_letters, erase_notes, erase_values

_CHUNK = 500  # rows named in one statement


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows were deleted; `others` counts opt-outs, bots' letters and the like."""

    turns: int = 0
    sessions: int = 0
    feedback: int = 0
    others: int = 0


async def erase(store: SessionStore, person: Person) -> Erased:
    """Delete what the person said, the replies to it, and everything else kept of them.

    The rows are overwritten (SQLite) as they go; `scrub` clears the rest of the files afterwards. Raises StoreError.
    """
    user = person.user
    if user is None:
        raise ValueError("a person is erased, not a platform")
    async with store.writing() as db:
        if db.dialect.name == "sqlite":
            await db.execute(text("PRAGMA secure_delete=ON"))
        spoken, touched = 0, []
        async for session in sessions_of(db, person):
            said = await _said_by(db, session.id, user)
            await _delete_turns(db, said)
            spoken += len(said)
            if said or session.chat == user or not user:
                touched.append(session.id)
        given = await _erase_feedback(db, person)
        gone = await _delete_silent(db, touched)
        others = await erase_values(db, person) + await erase_letters(db, person)
        # Opt-outs, adapters' values, and every table to come that knows its user.
        for table in metadata.sorted_tables:
            if {"platform", "account", "user_id"} <= set(table.c.keys()):
                chosen = delete(table).where(is_on(table, person), table.c.user_id == user)
                others += (await db.execute(chosen)).rowcount
        others += await erase_notes(db, person)
    return Erased(spoken, gone, given, others)


async def prune(store: SessionStore, before: datetime) -> Erased:
    """Delete the exchanges that ended before a time, sessions nobody has used since, and bots' letters.

    A letter is also what tells that a message has been here before. Platforms deliver again for a day at most, so
    `before` should be at least that long ago. Raises StoreError.
    """
    async with store.writing() as db:
        old = select(turns.c.session_id).where(turns.c.created < before).distinct()
        spoken = 0
        for session in (await db.scalars(old)).all():
            spoken += await _prune_session(db, session, before)
        idle = (await db.scalars(select(sessions.c.id).where(sessions.c.last_active < before))).all()
        gone = await _delete_silent(db, idle)
        letters = await db.run_sync(forget_letters, before)
        await db.execute(delete(queues).where(_forgotten()))
    return Erased(turns=spoken, sessions=gone, others=letters)


def forget_letters(db: Connection, before: datetime) -> int:
    """Delete what bots received before a time, and the answers to it, if all of it is done. How many letters."""
    unsent = exists().where(outbox.c.inbox_id == inbox.c.id, outbox.c.done.is_(None))
    old = delete(inbox).where(inbox.c.received < before, inbox.c.state == "done", ~unsent)
    return db.execute(old).rowcount


def _forgotten() -> ColumnElement[bool]:
    """Conversations without letters. Who keeps a letter meanwhile makes the conversation due in that transaction."""
    idle = and_(queues.c.due.is_(None), queues.c.owner.is_(None))
    return and_(idle, ~exists().where(inbox.c.queue_id == queues.c.id))


async def scrub(store: SessionStore) -> bool:
    """Rewrite the database's files, so that nothing deleted is left in free pages or the write-ahead log.

    False: another program was reading meanwhile, and the log could not be emptied. Raises StoreError.
    """
    async with store.maintaining() as db:
        if db.dialect.name == "postgresql":
            for table in metadata.sorted_tables:
                await db.execute(text(f'VACUUM FULL "{table.name}"'))
            return True
        await db.execute(text("VACUUM"))
        busy: int = (await db.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))).one()[0]
        return busy == 0


async def _said_by(db: AsyncConnection, session: int, user: str) -> list[int]:
    """The rows of the user's turns and of what answers them."""
    columns = (turns.c.id, turns.c.role, turns.c.user_id, turns.c.message_id)
    chosen = select(*columns).where(turns.c.session_id == session).order_by(turns.c.position)
    found, theirs, asked = [], False, dict[str, bool]()
    for row in await db.execute(chosen):
        if row.role == "user":
            theirs = (row.user_id or "") == user
            asked |= {row.message_id: theirs} if row.message_id else {}
        # A retried reply stands behind what was said meanwhile; in a group its message id tells whose it is.
        if asked.get(row.message_id, theirs):
            found.append(row.id)
    return found


async def _delete_turns(db: AsyncConnection, rows: list[int]) -> None:
    for start in range(0, len(rows), _CHUNK):
        await db.execute(delete(turns).where(turns.c.id.in_(rows[start : start + _CHUNK])))


async def _erase_feedback(db: AsyncConnection, person: Person) -> int:
    there = select(turns.c.id).join(sessions).where(is_on(sessions, person))
    own = and_(feedback.c.user_id == person.user, feedback.c.turn_id.in_(there))
    return (await db.execute(delete(feedback).where(own))).rowcount


async def _delete_silent(db: AsyncConnection, chosen: Iterable[int]) -> int:
    """Delete those of the sessions in which nothing is said any more."""
    gone = 0
    for session in chosen:
        silent = ~exists().where(turns.c.session_id == session)
        gone += (await db.execute(delete(sessions).where(sessions.c.id == session, silent))).rowcount
    return gone


async def _prune_session(db: AsyncConnection, session: int, before: datetime) -> int:
    """Delete whole exchanges: a young answer (a retry) keeps its old question."""
    of_session = turns.c.session_id == session
    youngest = await db.scalar(
        select(func.min(turns.c.position)).where(of_session, turns.c.created >= before)
    )
    old = [of_session]
    if youngest is not None:
        asked = select(func.max(turns.c.position)).where(
            of_session, turns.c.role == "user", turns.c.position <= youngest
        )
        old.append(turns.c.position < (await db.scalar(asked) or 0))
    return (await db.execute(delete(turns).where(*old))).rowcount
