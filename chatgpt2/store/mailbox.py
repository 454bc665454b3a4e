"""Inbox and outbox: each letter is answered once, in order, whatever process dies when.

A letter is new, then claimed (its batch is fixed: after a crash the same letters are answered together again), then
done, in the transaction that puts the answer into the outbox. Conversations are leased, never single letters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.errors import LeaseLost
from chatgpt2.store import mail_rows as rows
from chatgpt2.store.erasing import forget_letters
from chatgpt2.store.letters import Batch, Chunk, Gate, Letter, Queue, Receipt, Work
from chatgpt2.store.mail_tables import inbox, outbox, queues
from chatgpt2.store.sessions import SessionStore


class Mailbox:
    """The letters of one database, as one process works on them. Every method raises StoreError when the database
    fails; those that work on a queue raise LeaseLost when another process has taken it over."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.owner = uuid4().hex

    async def submit(self, letter: Letter, gate: Gate, *, stop: bool = False, answer: bool = True) -> Receipt:
        """Keep a letter for good. With `stop` those before it are not answered; without `answer` neither is it."""
        now = datetime.now(UTC)
        async with self._store.writing() as db:
            queue = await rows.queue(db, letter)
            if await db.scalar(select(inbox.c.id).where(rows.same(letter))):
                return "seen"
            receipt = await rows.receipt(db, queue, letter, gate, now) if answer and not stop else "new"
            keep = answer and receipt == "new"
            row = await rows.add(db, queue, letter, now, "new" if keep else "done")
            if row is None:
                return "seen"
            changes = {**({"stop": row} if stop else {}), **({"due": rows.moment(db)} if keep else {})}
            if changes:
                due = changes.get("due")
                changes |= {} if due is None else {"due": func.coalesce(queues.c.due, due)}
                await db.execute(update(queues).where(queues.c.id == queue).values(**changes))
        return receipt

    async def claim(self, accounts: Collection[tuple[str, str]], most: int, seconds: float) -> list[Queue]:
        """Lease conversations of these (platform, account) in which there is work, the longest waiting first."""
        columns = (queues.c.id, queues.c.platform, queues.c.account, queues.c.chat, queues.c.thread)
        async with self._store.writing() as db:
            now = rows.moment(db)
            free = or_(queues.c.leased_until.is_(None), queues.c.leased_until < now)
            ours = tuple_(queues.c.platform, queues.c.account).in_(list(accounts))
            chosen = select(*columns).where(queues.c.due.is_not(None), free, ours)
            chosen = chosen.order_by(queues.c.due, queues.c.id).limit(most).with_for_update(skip_locked=True)
            found = [Queue(*row) for row in await db.execute(chosen)]
            if found:
                these = update(queues).where(queues.c.id.in_([queue.id for queue in found]))
                until = rows.moment(db, seconds)
                await db.execute(these.values(owner=self.owner, leased_until=until))
        return found

    async def renew(self, ids: Collection[int], seconds: float) -> dict[int, int | None]:
        """Prolong the leases of these queues; those that are still held, and where each is to be stopped."""
        async with self._store.writing() as db:
            mine = update(queues).where(queues.c.owner == self.owner, queues.c.id.in_(list(ids)))
            kept = mine.values(leased_until=rows.moment(db, seconds))
            prolonged = await db.execute(kept.returning(queues.c.id, queues.c.stop))
            return {row.id: row.stop for row in prolonged}

    async def release(self, *only: int) -> None:
        """Give leases back, all or these; what is left to do is there for others at once."""
        mine = update(queues).where(queues.c.owner == self.owner)
        if only:
            mine = mine.where(queues.c.id.in_(only))
        async with self._store.writing() as db:
            await db.execute(mine.values(owner=None, leased_until=None))

    async def next(self, queue: Queue, choose: rows.Choose) -> Work:
        """What is to be done now: chunks to send, else letters to answer. None: nothing, and the lease is back."""
        async with self._store.writing() as db:
            stop = await self._hold(db, queue)
            if chunks := await rows.unsent(db, queue):
                await db.execute(update(outbox).where(outbox.c.id == chunks[0].id).values(begun=True))
                return chunks
            await rows.drop_stopped(db, queue, stop)
            letters = await rows.undone(db, queue)
            if not letters:
                idle = update(queues).where(queues.c.id == queue.id)
                await db.execute(idle.values(owner=None, leased_until=None, due=None))
                return None
            return await rows.claim_batch(db, queue, letters, choose)

    async def answer(
        self,
        queue: Queue,
        batch: Batch,
        chunks: Sequence[str],
        *,
        feedback_id: str | None = None,
        greeted: bool,
    ) -> list[Chunk]:
        """Put the answer into the outbox, the letters being done with it. Its last chunk carries the feedback id."""
        made = []
        async with self._store.writing() as db:
            await self._hold(db, queue)
            for position, text in enumerate(chunks):
                final = position == len(chunks) - 1
                row = {"queue_id": queue.id, "inbox_id": batch.last.id, "position": position, "text": text}
                feedback = feedback_id if final else None
                row |= {"final": final, "feedback_id": feedback, "begun": position == 0}
                number = (await db.execute(insert(outbox).values(**row).returning(outbox.c.id))).scalar_one()
                event = batch.last.event
                made.append(Chunk(number, batch.last.id, position, text, final, feedback, False, event))
            of_batch = [letter.id for letter in batch.letters]
            await db.execute(update(inbox).where(inbox.c.id.in_(of_batch)).values(state="done"))
            if greeted and not batch.greeted:
                now = datetime.now(UTC)
                await db.execute(update(queues).where(queues.c.id == queue.id).values(greeted=now))
        return made

    async def sent(self, queue: Queue, chunk: Chunk, platform_id: str, following: Chunk | None) -> None:
        """Note that a chunk has arrived, whoever holds the lease now, and that the following one is on its way."""
        async with self._store.writing() as db:
            gone = update(outbox).where(outbox.c.id == chunk.id)
            await db.execute(gone.values(done=datetime.now(UTC), platform_id=platform_id[:255]))
            if following is not None:
                await self._hold(db, queue)
                await db.execute(update(outbox).where(outbox.c.id == following.id).values(begun=True))

    async def not_sent(self, chunk: Chunk) -> None:
        """Note that the platform refused a chunk for now: it surely has not arrived."""
        async with self._store.writing() as db:
            await db.execute(update(outbox).where(outbox.c.id == chunk.id).values(begun=False))

    async def drop(self, chunk: Chunk) -> int:
        """Give up on this chunk and the rest of its answer. How many chunks that were."""
        rest = update(outbox).where(outbox.c.inbox_id == chunk.inbox_id, outbox.c.done.is_(None))
        async with self._store.writing() as db:
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

    async def _hold(self, db: AsyncConnection, queue: Queue) -> int:
        """Lock the queue, which must be ours; up to where it is stopped."""
        chosen = select(queues.c.owner, queues.c.stop).where(queues.c.id == queue.id).with_for_update()
        row = (await db.execute(chosen)).one_or_none()
        if row is None or row.owner != self.owner:
            raise LeaseLost(f"Another process answers in conversation {queue.id} now.")
        return row.stop or 0
