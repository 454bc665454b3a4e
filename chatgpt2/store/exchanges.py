"""What a turn does to the database: pieces of work, each in a transaction that somebody else holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.store.prepared import Db, Prepared
from chatgpt2.store.records import Exchange, Removal, SessionKey, Standing
from chatgpt2.store.rows import (
    ACTIVE,
    IS_KEY,
    OF_SESSION,
    add,
    claim,
    find,
    last_user_turn,
    of,
    remove,
    reply_to,
)
from chatgpt2.store.tables import sessions, turns

_OWN = Prepared(select(sessions.c.id, sessions.c.settings, sessions.c.persona).where(IS_KEY))
_LATEST = Prepared(
    select(turns.c.position, turns.c.role, turns.c.text)
    .where(OF_SESSION, ACTIVE)
    .order_by(turns.c.position.desc())
    .limit(bindparam("most"))
)


def standing(db: Db, key: SessionKey, message_id: str | None, most: int) -> Standing | None:
    """Where the conversation stands; None: there is no such session.

    Of a long one the latest turns, at least `most`. Where they begin moves seldom, so that prompts begin alike.
    """
    row = _OWN.one(db, of(key))
    if row is None:
        return None
    session, settings, persona = row
    opening = None if persona is None else tuple(Turn(role, text) for role, text in persona)
    earlier = reply_to(db, session, message_id)
    said = _LATEST.all(db, {"session": session, "most": 2 * most})
    if len(said) == 2 * most:
        first = -(-said[-1][0] // most) * most
        said = [turn for turn in said if turn[0] >= first]
    dialogue = Dialogue(tuple([Turn(role, text) for _, role, text in reversed(said)]))
    return Standing(dict(settings), opening, dialogue, earlier)


def append(
    db: Db,
    key: SessionKey,
    user: Mapping[str, Any],
    bot: Mapping[str, Any],
    message_id: str | None,
    removed: Removal | None,
) -> str:
    """Store both turns; the reply that stands."""
    now = datetime.now(UTC)
    session = claim(db, key, now)
    earlier = reply_to(db, session, message_id)
    if earlier is not None:
        return earlier
    common = {"message_id": message_id, "created": now}
    common |= {"removed": now, "removed_why": removed} if removed else {}
    add(db, session, {**common, **user, "role": "user"}, {**common, **bot, "role": "bot"})
    return str(bot["text"])


def replace_reply(db: Connection, key: SessionKey, bot: Mapping[str, Any]) -> None:
    """Store a reply in the place of the last one."""
    now = datetime.now(UTC)
    session = claim(db, key, now)
    last = last_user_turn(db, session)
    if last is not None:
        position, _, message_id = last
        remove(db, session, "retry", now, turns.c.position > position)
        add(db, session, {**bot, "role": "bot", "message_id": message_id, "created": now})


def clear(db: Connection, key: SessionKey) -> int:
    """Take every turn out of the conversation; how many."""
    session = find(db, key)
    return 0 if session is None else remove(db, session, "reset", datetime.now(UTC))


def undo(db: Connection, key: SessionKey) -> Exchange | None:
    """Take the last exchange out of the conversation."""
    session = find(db, key)
    last = None if session is None else last_user_turn(db, session)
    if session is None or last is None:
        return None
    position, text, message_id = last
    after = and_(turns.c.session_id == session, turns.c.position > position, ACTIVE)
    replies = db.scalars(select(turns.c.text).where(after).order_by(turns.c.position))
    exchange = Exchange(text, "\n".join(replies), message_id)
    remove(db, session, "undo", datetime.now(UTC), turns.c.position >= position)
    return exchange
