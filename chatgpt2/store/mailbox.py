"""Inbox and outbox: each letter is answered once, in order, whatever process dies when.

A letter is new, then claimed (its batch is fixed: after a crash the same letters are answered together again), then
done, in the transaction that puts the answer into the outbox. Conversations are leased, never single letters.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.errors import LeaseLost
from chatgpt2.store import mail_rows as rows
from chatgpt2.store.arriving import keep
from chatgpt2.store.erasing import forget_letters
from chatgpt2.store.letters import Arrival, Batch, Choose, Chunk, Gate, Letter, Queue, Receipt, Sent, Work
from chatgpt2.store.mail_rows import Held
from chatgpt2.store.mail_tables import inbox, outbox, queues
from chatgpt2.store.processes import new_owner
from chatgpt2.store.sessions import SessionStore

_QUEUE = (queues.c.id, queues.c.platform, queues.c.account, queues.c.chat, queues.c.thread)


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
        if not arrivals:
            return []
        async with self._store.writing() as db:
            return await keep(db, arrivals, datetime.now(UTC))

    async def due(self, accounts: Collection[tuple[str, str]]) -> bool:
        """Whether there is something to claim."""
        async with self._store.reading() as db:
            chosen = select(queues.c.id).where(_claimable(db, accounts)).limit(1)
            return await db.scalar(chosen) is not None

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
        async with self._store.writing() as db:
            chosen = select(*_QUEUE, queues.c.stop, queues.c.greeted).where(_claimable(db, accounts))
            chosen = chosen.order_by(queues.c.due, queues.c.id).limit(most).with_for_update(skip_locked=True)
            held = [
                Held(Queue(*row[:5], lease), row.stop, row.greeted is not None)
                for row in await db.execute(chosen)
                if row.id not in busy
            ]
            if not held:
                return []
            ids = [each.queue.id for each in held]
            until = rows.moment(db, seconds)
            await db.execute(
                update(queues).where(queues.c.id.in_(ids)).values(owner=lease, leased_until=until)
            )
            chunks = await rows.unsent(db, held)
            work = await rows.letters(db, [each for each in held if each.queue.id not in chunks], choose)
        return [(each.queue, chunks.get(each.queue.id) or work[each.queue.id]) for each in held]

    async def renew(self, leased: Collection[Queue], seconds: float) -> dict[int, int | None]:
        """Prolong these leases; the queues that are still held, and where each is to be stopped."""
        if not leased:
            return {}
        async with self._store.writing() as db:
            kept = update(queues).where(_these(leased)).values(leased_until=rows.moment(db, seconds))
            prolonged = await db.execute(kept.returning(queues.c.id, queues.c.owner, queues.c.stop))
            held = {row.id: row for row in prolonged}
        same = (queue for queue in leased if queue.id in held and held[queue.id].owner == queue.lease)
        return {queue.id: held[queue.id].stop for queue in same}

    async def release(self, *only: Queue) -> None:
        """Give leases back, all or these; what is left to do is there for others at once."""
        mine = _these(only) if only else rows.locked(queues.c.owner.startswith(f"{self.owner}-"))
        async with self._store.writing() as db:
            await db.execute(update(queues).where(mine).values(owner=None, leased_until=None))

    async def next(self, queue: Queue, choose: Choose, sent: Sent | None = None) -> Work:
        """What is to be answered now, the chunk before it having arrived; None: nothing, and the lease is back."""
        async with self._store.writing() as db:
            await self._note(db, sent)
            held = await self._held(db, queue)
            if held is not None:
                work = (await rows.letters(db, [held], choose))[queue.id]
        if held is None:
            raise _lost(queue)
        return work

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
        made: dict[int, int] = {}
        async with self._store.writing() as db:
            await self._hold(db, queue)
            if chunks:
                new = insert(outbox).returning(outbox.c.position, outbox.c.id)
                made = {row[0]: row[1] for row in await db.execute(new, [about | each for each in chunks])}
            done = update(inbox).where(inbox.c.id.in_([letter.id for letter in batch.letters]))
            await db.execute(done.values(state="done"))
            if greeted and not batch.greeted:
                now = datetime.now(UTC)
                await db.execute(update(queues).where(queues.c.id == queue.id).values(greeted=now))
        told = {"inbox_id": batch.last.id, "event": batch.last.event, "begun": False}
        return [Chunk(**{**each, **told, "id": made[place]}) for place, each in enumerate(chunks)]  # type: ignore[arg-type]

    async def sent(self, queue: Queue, sent: Sent, following: Chunk | None) -> None:
        """Note that a chunk has arrived, whoever holds the lease now, and that the following one is on its way."""
        async with self._store.writing() as db:
            await self._note(db, sent)
            held = following is None or await self._held(db, queue) is not None
            if following is not None and held:
                await db.execute(update(outbox).where(outbox.c.id == following.id).values(begun=True))
        if not held:
            raise _lost(queue)

    async def not_sent(self, chunk: Chunk) -> None:
        """Note that the platform refused a chunk for now: it surely has not arrived."""
        async with self._store.writing() as db:
            await db.execute(update(outbox).where(outbox.c.id == chunk.id).values(begun=False))

    async def again(self, queue: Queue, chunk: Chunk) -> None:
        """Note that a chunk is on its way once more."""
        async with self._store.writing() as db:
            await self._hold(db, queue)
            await db.execute(update(outbox).where(outbox.c.id == chunk.id).values(begun=True))

    async def drop(self, queue: Queue, chunk: Chunk) -> int:
        """Give up on this chunk and the rest of its answer. How many chunks that were."""
        rest = update(outbox).where(outbox.c.inbox_id == chunk.inbox_id, outbox.c.done.is_(None))
        async with self._store.writing() as db:
            await self._hold(db, queue)
            return (await db.execute(rest.values(done=datetime.now(UTC)))).rowcount

    async def answered(self, queue: Queue, about: str) -> str | None:
        """The message whose answer had this feedback id or this id on the platform."""
        named = or_(outbox.c.feedback_id == about, outbox.c.platform_id == about)
        chosen = select(inbox.c.message_id).join(outbox, outbox.c.inbox_id == inbox.c.id)
        chosen = chosen.where(outbox.c.queue_id == queue.id, named).order_by(outbox.c.id.desc()).limit(1)
        async with self._store.reading() as db:
            found: str | None = await db.scalar(chosen)
            return found

    async def pending(self) -> tuple[int, int]:
        """How many letters are not answered, and how many chunks not sent."""
        async with self._store.reading() as db:
            letters = select(func.count()).select_from(inbox).where(inbox.c.state != "done")
            chunks = select(func.count()).select_from(outbox).where(outbox.c.done.is_(None))
            return (await db.execute(letters)).scalar_one(), (await db.execute(chunks)).scalar_one()

    async def purge(self, before: datetime) -> int:
        """Delete what was received before and is done with. How many letters."""
        async with self._store.writing() as db:
            return await forget_letters(db, before)

    async def _note(self, db: AsyncConnection, sent: Sent | None) -> None:
        if sent is not None:
            gone = update(outbox).where(outbox.c.id == sent.chunk.id)
            await db.execute(gone.values(done=datetime.now(UTC), platform_id=sent.platform_id[:255]))

    async def _held(self, db: AsyncConnection, queue: Queue) -> Held | None:
        """Lock the queue. None: it has been leased anew since."""
        chosen = select(queues.c.owner, queues.c.stop, queues.c.greeted).where(queues.c.id == queue.id)
        row = (await db.execute(chosen.with_for_update())).one_or_none()
        if row is None or row.owner != queue.lease:
            return None
        return Held(queue, row.stop, row.greeted is not None)

    async def _hold(self, db: AsyncConnection, queue: Queue) -> None:
        if await self._held(db, queue) is None:
            raise _lost(queue)


def _claimable(db: AsyncConnection, accounts: Collection[tuple[str, str]]) -> ColumnElement[bool]:
    free = or_(queues.c.leased_until.is_(None), queues.c.leased_until < rows.moment(db))
    ours = tuple_(queues.c.platform, queues.c.account).in_(sorted(accounts))
    return and_(queues.c.due.is_not(None), free, ours)


def _these(leased: Collection[Queue]) -> ColumnElement[bool]:
    named = queues.c.id.in_([queue.id for queue in leased])
    return rows.locked(named, queues.c.owner.in_({queue.lease for queue in leased}))


def _lost(queue: Queue) -> LeaseLost:
    return LeaseLost(f"Another process answers in conversation {queue.id} now.")
