"""Inbox and outbox: each letter is answered once, in order, whatever process dies when.

A letter is new, then claimed (its batch is fixed: after a crash the same letters are answered together again), then
done, in the transaction that puts the answer into the outbox. Conversations are leased, never single letters.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from chatgpt2.errors import LeaseLost
from chatgpt2.store import mail_rows as rows
from chatgpt2.store.arriving import keep
from chatgpt2.store.erasing import forget_letters
from chatgpt2.store.letters import Arrival, Batch, Choose, Chunk, Gate, Letter, Queue, Receipt, Sent, Work
from chatgpt2.store.mail_tables import inbox, outbox, queues
from chatgpt2.store.processes import new_owner
from chatgpt2.store.sessions import SessionStore


class Mailbox:
    """The letters of one database, as one process works on them. Every method raises StoreError when the database
    fails; those that work on a queue raise LeaseLost when it has been leased anew since, by whomever."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.owner = new_owner()
        self._leases = itertools.count(1)

    async def submit(self, letter: Letter, gate: Gate, *, stop: bool = False, answer: bool = True) -> Receipt:
        """Keep one letter for good."""
        return (await self.submit_all([Arrival(letter, gate, stop, answer)]))[0]

    async def submit_all(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """Keep letters for good, all of them or none; what became of each."""
        now = datetime.now(UTC)
        return await self._store.write(lambda db: keep(db, arrivals, now)) if arrivals else []

    async def due(self, accounts: Collection[tuple[str, str]]) -> bool:
        """Whether there is something to claim."""

        def work(db: Connection) -> bool:
            return db.scalar(select(queues.c.id).where(rows.claimable(db, accounts)).limit(1)) is not None

        return await self._store.read(work)

    async def claim(
        self,
        accounts: Collection[tuple[str, str]],
        most: int,
        seconds: float,
        choose: Choose,
        busy: Collection[int] = (),
    ) -> list[tuple[Queue, Work]]:
        """Lease conversations of these (platform, account) in which there is work, the longest waiting first, and
        what is to be done in each: chunks to send, else letters to answer. Those in `busy` are left alone."""
        lease = f"{self.owner}-{next(self._leases)}"

        def work(db: Connection) -> list[tuple[Queue, Work]]:
            held = [each for each in rows.claim(db, accounts, most, lease) if each.queue.id not in busy]
            if not held:
                return []
            ids = [each.queue.id for each in held]
            until = rows.moment(db, seconds)
            db.execute(update(queues).where(queues.c.id.in_(ids)).values(owner=lease, leased_until=until))
            chunks = rows.unsent(db, held)
            letters = rows.letters(db, [each for each in held if each.queue.id not in chunks], choose)
            return [(each.queue, chunks.get(each.queue.id) or letters[each.queue.id]) for each in held]

        return await self._store.write(work)

    async def renew(self, leased: Collection[Queue], seconds: float) -> dict[int, int | None]:
        """Prolong these leases; the queues that are still held, and where each is to be stopped."""
        if not leased:
            return {}

        def work(db: Connection) -> dict[int, Any]:
            kept = update(queues).where(_these(leased)).values(leased_until=rows.moment(db, seconds))
            prolonged = db.execute(kept.returning(queues.c.id, queues.c.owner, queues.c.stop))
            return {row.id: row for row in prolonged}

        held = await self._store.write(work)
        same = (queue for queue in leased if queue.id in held and held[queue.id].owner == queue.lease)
        return {queue.id: held[queue.id].stop for queue in same}

    async def release(self, *only: Queue) -> None:
        """Give leases back, all or these; what is left to do is there for others at once."""
        mine = _these(only) if only else rows.locked(queues.c.owner.startswith(f"{self.owner}-"))
        back = update(queues).where(mine).values(owner=None, leased_until=None)
        await self._store.write(lambda db: db.execute(back).rowcount)

    async def next(self, queue: Queue, choose: Choose, sent: Sent | None = None) -> Work:
        """What is to be answered now, the chunk before it having arrived; None: nothing, and the lease is back."""

        def work(db: Connection) -> tuple[bool, Work]:
            rows.note(db, sent)
            held = rows.held(db, queue)
            return held is not None, rows.letters(db, [held], choose)[queue.id] if held else None

        # What has arrived is noted also when the lease is gone, so that this is told afterwards.
        held, found = await self._store.write(work)
        if not held:
            raise _lost(queue)
        return found

    async def answer(
        self,
        queue: Queue,
        batch: Batch,
        texts: Sequence[str],
        *,
        feedback_id: str | None = None,
        greeted: bool,
    ) -> list[Chunk]:
        """Put the answer into the outbox, the letters being done with it. Its last chunk carries the feedback id."""
        about, last = {"queue_id": queue.id, "inbox_id": batch.last.id}, len(texts) - 1
        chunks = [
            {"position": place, "text": text, "final": place == last, "begun": place == 0}
            | {"feedback_id": feedback_id if place == last else None}
            for place, text in enumerate(texts)
        ]
        done = update(inbox).where(inbox.c.id.in_([letter.id for letter in batch.letters]))
        greeting = greeted and not batch.greeted

        def work(db: Connection) -> dict[int, int]:
            _hold(db, queue)
            made = rows.insert_chunks(db, [about | each for each in chunks]) if chunks else {}
            db.execute(done.values(state="done"))
            if greeting:
                now = datetime.now(UTC)
                db.execute(update(queues).where(queues.c.id == queue.id).values(greeted=now))
            return made

        made = await self._store.write(work)
        told = {"inbox_id": batch.last.id, "event": batch.last.event, "begun": False}
        return [Chunk(**{**each, **told, "id": made[place]}) for place, each in enumerate(chunks)]  # type: ignore[arg-type]

    async def sent(self, queue: Queue, sent: Sent, following: Chunk | None) -> None:
        """Note that a chunk has arrived, whoever holds the lease now, and that the following one is on its way."""

        def work(db: Connection) -> bool:
            rows.note(db, sent)
            if following is None:
                return True
            if held := rows.held(db, queue) is not None:
                rows.begin(db, following, True)
            return held

        if not await self._store.write(work):
            raise _lost(queue)

    async def not_sent(self, chunk: Chunk) -> None:
        """Note that the platform refused a chunk for now: it surely has not arrived."""
        await self._store.write(lambda db: rows.begin(db, chunk, False))

    async def again(self, queue: Queue, chunk: Chunk) -> None:
        """Note that a chunk is on its way once more."""

        def work(db: Connection) -> None:
            _hold(db, queue)
            rows.begin(db, chunk, True)

        await self._store.write(work)

    async def drop(self, queue: Queue, chunk: Chunk) -> int:
        """Give up on this chunk and the rest of its answer. How many chunks that were."""
        rest = update(outbox).where(outbox.c.inbox_id == chunk.inbox_id, outbox.c.done.is_(None))

        def work(db: Connection) -> int:
            _hold(db, queue)
            return db.execute(rest.values(done=datetime.now(UTC))).rowcount

        return await self._store.write(work)

    async def answered(self, queue: Queue, about: str) -> str | None:
        """The message whose answer had this feedback id or this id on the platform."""
        named = or_(outbox.c.feedback_id == about, outbox.c.platform_id == about)
        chosen = select(inbox.c.message_id).join(outbox, outbox.c.inbox_id == inbox.c.id)
        chosen = chosen.where(outbox.c.queue_id == queue.id, named).order_by(outbox.c.id.desc()).limit(1)

        def work(db: Connection) -> str | None:
            found: str | None = db.scalar(chosen)
            return found

        return await self._store.read(work)

    async def pending(self) -> tuple[int, int]:
        """How many letters are not answered, and how many chunks not sent."""
        letters = select(func.count()).select_from(inbox).where(inbox.c.state != "done")
        chunks = select(func.count()).select_from(outbox).where(outbox.c.done.is_(None))
        return await self._store.read(
            lambda db: (db.execute(letters).scalar_one(), db.execute(chunks).scalar_one())
        )

    async def purge(self, before: datetime) -> int:
        """Delete what was received before and is done with. How many letters."""
        return await self._store.write(lambda db: forget_letters(db, before))


def _hold(db: Connection, queue: Queue) -> None:
    if rows.held(db, queue) is None:
        raise _lost(queue)


def _these(leased: Collection[Queue]) -> ColumnElement[bool]:
    named = queues.c.id.in_([queue.id for queue in leased])
    return rows.locked(named, queues.c.owner.in_({queue.lease for queue in leased}))


def _lost(queue: Queue) -> LeaseLost:
    return LeaseLost(f"Another process answers in conversation {queue.id} now.")
