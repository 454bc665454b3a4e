"""Leases by name: one process at a time does what may be done once only, such as polling an account."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.mail_rows import locked, moment
from chatgpt2.store.mail_tables import leases, queues
from chatgpt2.store.processes import is_dead
from chatgpt2.store.sessions import SessionStore


class Leases:
    """What `owner` holds. Every method raises StoreError when the database fails."""

    def __init__(self, store: SessionStore, owner: str) -> None:
        self._store, self._owner = store, owner

    async def take(self, name: str, seconds: float) -> bool:
        """Hold a lease for so long from now, newly or still. False: another process holds it."""
        async with self._store.writing() as db:
            row = {"owner": self._owner, "until": moment(db, seconds)}
            free = or_(leases.c.owner == self._owner, leases.c.until < moment(db))
            taken = await db.execute(update(leases).where(leases.c.name == name, free).values(**row))
            if taken.rowcount:
                return True
            try:
                async with db.begin_nested():
                    await db.execute(insert(leases).values(name=name, **row))
            except IntegrityError:
                return False
        return True

    async def give_back(self, name: str) -> None:
        """Let another process have it at once."""
        mine = delete(leases).where(leases.c.name == name, leases.c.owner == self._owner)
        async with self._store.writing() as db:
            await db.execute(mine)


async def free_leases_of_the_dead(store: SessionStore) -> None:
    """Give back what processes held that have ended on this machine, so that nobody waits until it expires.

    Raises StoreError.
    """
    async with store.writing() as db:
        if dead := await _dead(db, queues.c.owner):
            theirs = update(queues).where(locked(queues.c.owner.in_(dead)))
            await db.execute(theirs.values(owner=None, leased_until=None))
        if dead := await _dead(db, leases.c.owner):
            await db.execute(delete(leases).where(leases.c.owner.in_(dead)))


async def _dead(db: AsyncConnection, column: ColumnElement[str]) -> list[str]:
    owners = await db.scalars(select(column).where(column.is_not(None)).distinct())
    return [owner for owner in owners if is_dead(owner)]
