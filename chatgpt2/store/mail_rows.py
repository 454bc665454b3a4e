"""Rows of the inbox and the outbox, inside a transaction that somebody else holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, bindparam, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.letters import Batch, Choose, Chunk, Pause, Queue, Waiting, Work
from chatgpt2.store.mail_tables import inbox, outbox, queues

_LETTER = (inbox.c.queue_id, inbox.c.id, inbox.c.event, inbox.c.received, inbox.c.attempts, inbox.c.batch)
_CHUNK = (
    outbox.c.queue_id,
    *(outbox.c.id, outbox.c.inbox_id, outbox.c.position, outbox.c.text, outbox.c.final),
    *(outbox.c.feedback_id, outbox.c.begun, inbox.c.event),
)
# Those of a batch that was begun, then by the platform's clock where it tells.
_ORDER = (inbox.c.batch.is_(None), inbox.c.batch, inbox.c.sent, inbox.c.id)
_CLAIM = (
    update(inbox)
    .where(inbox.c.id == bindparam("letter"))
    .values(state="claimed", batch=bindparam("together"), attempts=inbox.c.attempts + 1)
)


@dataclass(frozen=True, slots=True)
class Held:
    """A leased conversation, up to where it is stopped, and whether it has been greeted."""

    queue: Queue
    stop: int | None
    greeted: bool


def moment(db: AsyncConnection, seconds: float = 0) -> Any:
    """So many seconds from now, by the clock of the database: it is the one that several machines share."""
    ahead = timedelta(seconds=seconds)
    if db.dialect.name == "postgresql":
        return func.clock_timestamp() + literal(ahead, Interval())
    return datetime.now(UTC) + ahead


def locked(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """These conversations, locked in the order that everybody keeps who locks several."""
    chosen = select(queues.c.id).where(*which).order_by(queues.c.id)
    return queues.c.id.in_(chosen.with_for_update())


async def unsent(db: AsyncConnection, held: Sequence[Held]) -> dict[int, list[Chunk]]:
    """What is left of an answer in each of these conversations, the first of it being begun."""
    chosen = select(*_CHUNK).join(inbox, inbox.c.id == outbox.c.inbox_id)
    chosen = chosen.where(outbox.c.queue_id.in_(_ids(held)), outbox.c.done.is_(None)).order_by(outbox.c.id)
    found: dict[int, list[Chunk]] = defaultdict(list)
    for queue, *columns in await db.execute(chosen):
        chunk = Chunk(*columns)
        if not found[queue] or found[queue][0].inbox_id == chunk.inbox_id:
            found[queue].append(chunk)
    if firsts := [chunks[0].id for chunks in found.values()]:
        await db.execute(update(outbox).where(outbox.c.id.in_(firsts)).values(begun=True))
    return dict(found)


async def letters(db: AsyncConnection, held: Sequence[Held], choose: Choose) -> dict[int, Work]:
    """What is to be answered in each of these conversations. Where there is nothing its lease is given back."""
    for each in held:
        if each.stop is not None:
            await _drop_stopped(db, each.queue, each.stop)
    undone = await _undone(db, held)
    found: dict[int, Work] = {}
    claims: list[Mapping[str, Any]] = []
    for each in held:
        rows = undone.get(each.queue.id, [])
        found[each.queue.id] = work = _work(each, rows, choose) if rows else None
        if isinstance(work, Batch):
            claims += [{"letter": letter.id, "together": work.last.id} for letter in work.letters]
    if claims:
        await db.execute(_CLAIM, claims)
    if idle := [number for number, work in found.items() if work is None]:
        nothing: Mapping[str, Any] = {"owner": None, "leased_until": None, "due": None}
        await db.execute(update(queues).where(queues.c.id.in_(idle)).values(**nothing))
    return found


def _ids(held: Collection[Held]) -> list[int]:
    return [each.queue.id for each in held]


async def _drop_stopped(db: AsyncConnection, queue: Queue, stop: int) -> None:
    stopped = and_(inbox.c.queue_id == queue.id, inbox.c.state != "done", inbox.c.id < stop)
    await db.execute(update(inbox).where(stopped).values(state="done"))


async def _undone(db: AsyncConnection, held: Sequence[Held]) -> dict[int, list[Any]]:
    chosen = select(*_LETTER).where(inbox.c.queue_id.in_(_ids(held)), inbox.c.state != "done")
    found: dict[int, list[Any]] = defaultdict(list)
    for row in await db.execute(chosen.order_by(*_ORDER)):
        found[row.queue_id].append(row)
    return found


def _work(held: Held, rows: Sequence[Any], choose: Choose) -> Batch | Pause:
    waiting = [Waiting(row.id, row.event, row.received, row.attempts) for row in rows]
    if rows[0].batch is not None:
        together = [letter for letter, row in zip(waiting, rows, strict=True) if row.batch == rows[0].batch]
        return Batch(together, held.greeted)
    chosen = choose(held.queue, waiting)
    return Pause(chosen) if isinstance(chosen, float) else Batch(waiting[:chosen], held.greeted)
