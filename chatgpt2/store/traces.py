"""What is left of a person outside of what was said: conversations of bots, adapters' values, notes of the audit."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, delete, exists, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.mail_tables import adapter_state, inbox, queues
from chatgpt2.store.people import Person, is_on
from chatgpt2.store.tables import audit, sessions

_NOBODY = "(erased)"


async def erase_letters(db: AsyncConnection, person: Person) -> int:
    """Delete what bots received from the person, the answers to it, and the conversations that are empty then.

    Whoever answers in such a conversation finds its lease gone, as if another process had taken it.
    """
    theirs = and_(is_on(inbox, person), inbox.c.user_id == person.user)
    at = select(inbox.c.queue_id).where(theirs)
    chosen = select(queues.c.id).where(
        is_on(queues, person), or_(queues.c.chat == person.user, queues.c.id.in_(at))
    )
    touched = (await db.scalars(chosen.order_by(queues.c.id).with_for_update())).all()
    gone = (await db.execute(delete(inbox).where(theirs))).rowcount
    for queue in touched:
        empty = ~exists().where(inbox.c.queue_id == queue)
        gone += (await db.execute(delete(queues).where(queues.c.id == queue, empty))).rowcount
    return gone


async def erase_values(db: AsyncConnection, person: Person) -> int:
    """Delete the adapters' values that say about nobody, and have the person's id, or that of a message of theirs, as
    a part of their key (ACCOUNT:context:ID): so they were written before they said whom they are about, and so an
    adapter writes them that forgets to say it. The person's letters must still be there."""
    on = (select(table.c.account).where(is_on(table, person)) for table in (queues, sessions))
    accounts = {person.account, *await db.scalars(union(*on))} - {None, ""}
    theirs = select(inbox.c.message_id).where(is_on(inbox, person), inbox.c.user_id == person.user)
    names = {person.user, *await db.scalars(theirs)} - {None, ""}
    rows = select(adapter_state.c.bot, adapter_state.c.key).where(adapter_state.c.user_id.is_(None))
    found = [row for row in await db.execute(rows) if _is_about(row.key, accounts, names)]
    for bot, key in found:
        await db.execute(delete(adapter_state).filter_by(bot=bot, key=key))
    return len(found)


async def erase_notes(db: AsyncConnection, person: Person) -> int:
    """Delete what the person did from the audit, and take their name out of what others did: that something was
    exported stays, and of which platform."""
    gone = 0
    for row in (await db.execute(select(audit.c.id, audit.c.actor, audit.c.detail))).all():
        if _is(row.actor, person):
            gone += (await db.execute(delete(audit).where(audit.c.id == row.id))).rowcount
        elif person.user and any(_is(value, person) for value in row.detail.values()):
            nameless = f"{person.platform}:{_NOBODY}"
            detail = {name: nameless if _is(value, person) else value for name, value in row.detail.items()}
            await db.execute(update(audit).where(audit.c.id == row.id).values(detail=detail))
    return gone


def _is_about(key: str, accounts: Collection[str], names: Collection[str]) -> bool:
    """Whether the key is of one of these accounts, and has one of these names as a part."""
    rests = [f":{key.removeprefix(f'{account}:')}:" for account in accounts if key.startswith(f"{account}:")]
    return any(f":{name}:" in rest for rest in rests for name in names)


def _is(name: object, person: Person) -> bool:
    """Whether somebody's name in the audit is the person's, written with the account or without."""
    if not isinstance(name, str):
        return False
    if name in (str(person), str(Person(person.platform, person.user))):
        return True
    anywhere = bool(person.user) and person.account is None
    return anywhere and name.startswith(f"{person.platform}:") and name.endswith(f":{person.user}")
