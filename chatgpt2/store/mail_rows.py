"""Rows of the inbox and the outbox, inside a transaction that somebody else holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.letters import Batch, Chunk, Gate, Letter, Pause, Queue, Receipt, Waiting
from chatgpt2.store.mail_tables import inbox, outbox, queues

# How many of these letters are answered together now (the first of them, in order), or how many seconds to wait.
Choose = Callable[[Sequence[Waiting]], int | float]

_MINUTE = timedelta(minutes=1)
_LETTER = (inbox.c.id, inbox.c.event, inbox.c.received, inbox.c.attempts, inbox.c.batch)
_CHUNK = (
    *(outbox.c.id, outbox.c.inbox_id, outbox.c.position, outbox.c.text, outbox.c.final),
    *(outbox.c.feedback_id, outbox.c.begun, inbox.c.event),
)


def moment(db: AsyncConnection, seconds: float = 0) -> Any:
    """So many seconds from now, by the clock of the database: it is the one that several machines share."""
    ahead = timedelta(seconds=seconds)
    if db.dialect.name == "postgresql":
        return func.clock_timestamp() + literal(ahead, Interval())
    return datetime.now(UTC) + ahead


def same(letter: Letter) -> ColumnElement[bool]:
    return and_(
        inbox.c.platform == letter.platform,
        inbox.c.account == letter.account,
        inbox.c.message_id == letter.message_id,
    )


async def queue(db: AsyncConnection, letter: Letter) -> int:
    """The row of the letter's conversation, locked: letters of one conversation are numbered as they are kept."""
    key = {
        **{"platform": letter.platform, "account": letter.account},
        **{"chat": letter.chat, "thread": letter.thread},
    }
    chosen = select(queues.c.id).where(*(queues.c[name] == key[name] for name in key)).with_for_update()
    found: int | None = await db.scalar(chosen)
    if found is None:
        try:
            async with db.begin_nested():
                await db.execute(insert(queues).values(**key))
        except IntegrityError:
            pass  # PostgreSQL: another process made it between our look and our insert
        found = (await db.execute(chosen)).scalar_one()
    return found


async def receipt(db: AsyncConnection, queue: int, letter: Letter, gate: Gate, now: datetime) -> Receipt:
    undone = select(func.count()).select_from(inbox)
    user = undone.where(
        inbox.c.platform == letter.platform,
        inbox.c.account == letter.account,
        inbox.c.user_id == letter.user_id,
    )
    rules: tuple[tuple[Receipt, int | None, Any], ...] = (
        ("slow", gate.per_minute, user.where(inbox.c.received > now - _MINUTE)),
        ("spent", gate.per_day, user.where(inbox.c.received >= (gate.midnight or now - timedelta(days=1)))),
        ("busy", gate.waiting, undone.where(inbox.c.queue_id == queue, inbox.c.state != "done")),
    )
    for receipt, most, counting in rules:
        if most is not None:
            count = (await db.execute(counting)).scalar_one()
            if count >= most:
                return receipt if count == most else "dropped"
    return "new"


async def add(db: AsyncConnection, queue: int, letter: Letter, now: datetime, state: str) -> int | None:
    row = {
        **{"queue_id": queue, "platform": letter.platform, "account": letter.account},
        **{"message_id": letter.message_id, "user_id": letter.user_id, "event": dict(letter.event)},
        **{"state": state, "attempts": 0, "sent": letter.sent, "received": now},
    }
    try:
        async with db.begin_nested():
            made: int = (await db.execute(insert(inbox).values(**row).returning(inbox.c.id))).scalar_one()
            return made
    except IntegrityError:  # the same message in another chat, at the same time
        return None


async def unsent(db: AsyncConnection, queue: Queue) -> list[Chunk]:
    chosen = select(*_CHUNK).join(inbox, inbox.c.id == outbox.c.inbox_id)
    chosen = chosen.where(outbox.c.queue_id == queue.id, outbox.c.done.is_(None)).order_by(outbox.c.id)
    rows = [Chunk(*row) for row in await db.execute(chosen)]
    return [chunk for chunk in rows if chunk.inbox_id == rows[0].inbox_id]


async def drop_stopped(db: AsyncConnection, queue: Queue, stop: int) -> None:
    stopped = and_(inbox.c.queue_id == queue.id, inbox.c.state != "done", inbox.c.id < stop)
    await db.execute(update(inbox).where(stopped).values(state="done"))


async def undone(db: AsyncConnection, queue: Queue) -> list[Any]:
    """The letters in order: those of a batch that was begun, then by the platform's clock where it tells."""
    chosen = select(*_LETTER).where(inbox.c.queue_id == queue.id, inbox.c.state != "done")
    order = (inbox.c.batch.is_(None), inbox.c.batch, inbox.c.sent, inbox.c.id)
    return list(await db.execute(chosen.order_by(*order)))


async def claim_batch(
    db: AsyncConnection, queue: Queue, rows: Sequence[Any], choose: Choose
) -> Batch | Pause:
    waiting = [Waiting(row.id, row.event, row.received, row.attempts) for row in rows]
    if rows[0].batch is None:
        chosen = choose(waiting)
        if isinstance(chosen, float):
            return Pause(chosen)
        letters = waiting[:chosen]
    else:
        letters = [letter for letter, row in zip(waiting, rows, strict=True) if row.batch == rows[0].batch]
    claimed: Mapping[str, Any] = {"state": "claimed", "batch": letters[-1].id}
    these = update(inbox).where(inbox.c.id.in_([letter.id for letter in letters]))
    await db.execute(these.values(**claimed, attempts=inbox.c.attempts + 1))
    greeted = await db.scalar(select(queues.c.greeted).where(queues.c.id == queue.id))
    return Batch(letters, greeted is not None)
