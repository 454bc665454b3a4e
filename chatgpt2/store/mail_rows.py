"""Rows of the inbox and the outbox, inside a transaction that somebody else holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Interval,
    and_,
    bindparam,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.letters import Batch, Choose, Chunk, Pause, Queue, Sent, Waiting, Work
from chatgpt2.store.mail_tables import inbox, outbox, queues

_QUEUE = (queues.c.id, queues.c.platform, queues.c.account, queues.c.chat, queues.c.thread)
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


def moment(db: Connection | AsyncConnection, seconds: float = 0) -> Any:
    """So many seconds from now, by the clock of the database: it is the one that several machines share."""
    ahead = timedelta(seconds=seconds)
    if db.dialect.name == "postgresql":
        return func.clock_timestamp() + literal(ahead, Interval())
    return datetime.now(UTC) + ahead


def locked(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """These conversations, locked in the order that everybody keeps who locks several."""
    chosen = select(queues.c.id).where(*which).order_by(queues.c.id)
    return queues.c.id.in_(chosen.with_for_update())


def claimable(db: Connection, accounts: Collection[tuple[str, str]]) -> ColumnElement[bool]:
    """Conversations of these (platform, account) in which there is work, and which nobody holds."""
    free = or_(queues.c.leased_until.is_(None), queues.c.leased_until < moment(db))
    ours = tuple_(queues.c.platform, queues.c.account).in_(sorted(accounts))
    return and_(queues.c.due.is_not(None), free, ours)


def claim(db: Connection, accounts: Collection[tuple[str, str]], most: int, lease: str) -> list[Held]:
    """Claimable conversations, the longest waiting first, locked."""
    chosen = select(*_QUEUE, queues.c.stop, queues.c.greeted).where(claimable(db, accounts))
    chosen = chosen.order_by(queues.c.due, queues.c.id).limit(most).with_for_update(skip_locked=True)
    return [Held(Queue(*row[:5], lease), row.stop, row.greeted is not None) for row in db.execute(chosen)]


def held(db: Connection, queue: Queue) -> Held | None:
    """Lock a leased conversation. None: it has been leased anew since."""
    chosen = select(queues.c.owner, queues.c.stop, queues.c.greeted).where(queues.c.id == queue.id)
    row = db.execute(chosen.with_for_update()).one_or_none()
    if row is None or row.owner != queue.lease:
        return None
    return Held(queue, row.stop, row.greeted is not None)


def note(db: Connection, sent: Sent | None) -> None:
    """A chunk has arrived."""
    if sent is not None:
        gone = update(outbox).where(outbox.c.id == sent.chunk.id)
        db.execute(gone.values(done=datetime.now(UTC), platform_id=sent.platform_id[:255]))


def begin(db: Connection, chunk: Chunk, begun: bool) -> None:
    """A chunk is, or is not, on its way."""
    db.execute(update(outbox).where(outbox.c.id == chunk.id).values(begun=begun))


def insert_chunks(db: Connection, chunks: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """The new rows by their position."""
    new = insert(outbox).returning(outbox.c.position, outbox.c.id)
    return {row[0]: row[1] for row in db.execute(new, chunks)}


def unsent(db: Connection, held: Sequence[Held]) -> dict[int, list[Chunk]]:
    """What is left of an answer in each of these conversations, the first of it being begun."""
    chosen = select(*_CHUNK).join(inbox, inbox.c.id == outbox.c.inbox_id)
    chosen = chosen.where(outbox.c.queue_id.in_(_ids(held)), outbox.c.done.is_(None)).order_by(outbox.c.id)
    found: dict[int, list[Chunk]] = defaultdict(list)
    for queue, *columns in db.execute(chosen):
        chunk = Chunk(*columns)
        if not found[queue] or found[queue][0].inbox_id == chunk.inbox_id:
            found[queue].append(chunk)
    if firsts := [chunks[0].id for chunks in found.values()]:
        db.execute(update(outbox).where(outbox.c.id.in_(firsts)).values(begun=True))
    return dict(found)


def letters(db: Connection, held: Sequence[Held], choose: Choose) -> dict[int, Work]:
    """What is to be answered in each of these conversations. Where there is nothing its lease is given back."""
    for each in held:
        if each.stop is not None:
            _drop_stopped(db, each.queue, each.stop)
    undone = _undone(db, held)
    found: dict[int, Work] = {}
    claims: list[Mapping[str, Any]] = []
    for each in held:
        rows = undone.get(each.queue.id, [])
        found[each.queue.id] = work = _work(each, rows, choose) if rows else None
        if isinstance(work, Batch):
            claims += [{"letter": letter.id, "together": work.last.id} for letter in work.letters]
    if claims:
        db.execute(_CLAIM, claims)
    if idle := [number for number, work in found.items() if work is None]:
        nothing: Mapping[str, Any] = {"owner": None, "leased_until": None, "due": None}
        db.execute(update(queues).where(queues.c.id.in_(idle)).values(**nothing))
    return found


def _ids(held: Collection[Held]) -> list[int]:
    return [each.queue.id for each in held]


def _drop_stopped(db: Connection, queue: Queue, stop: int) -> None:
    stopped = and_(inbox.c.queue_id == queue.id, inbox.c.state != "done", inbox.c.id < stop)
    db.execute(update(inbox).where(stopped).values(state="done"))


def _undone(db: Connection, held: Sequence[Held]) -> dict[int, list[Any]]:
    chosen = select(*_LETTER).where(inbox.c.queue_id.in_(_ids(held)), inbox.c.state != "done")
    found: dict[int, list[Any]] = defaultdict(list)
    for row in db.execute(chosen.order_by(*_ORDER)):
        found[row.queue_id].append(row)
    return found


def _work(held: Held, rows: Sequence[Any], choose: Choose) -> Batch | Pause:
    waiting = [Waiting(row.id, row.event, row.received, row.attempts) for row in rows]
    if rows[0].batch is not None:
        together = [letter for letter, row in zip(waiting, rows, strict=True) if row.batch == rows[0].batch]
        return Batch(together, held.greeted)
    chosen = choose(held.queue, waiting)
    return Pause(chosen) if isinstance(chosen, float) else Batch(waiting[:chosen], held.greeted)
