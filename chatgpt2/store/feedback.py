"""What people think of replies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.store.records import SessionKey
from chatgpt2.store.rows import ACTIVE, find, is_key
from chatgpt2.store.sessions import SessionStore
from chatgpt2.store.tables import feedback, sessions, turns

Verdict = Literal["up", "down"]

_OPINION = (
    *(sessions.c.platform, sessions.c.account, sessions.c.chat, sessions.c.thread),
    *(turns.c.position, turns.c.text.label("reply")),
    *(feedback.c.user_id, feedback.c.verdict, feedback.c.text, feedback.c.created),
)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What `user` ("": who has no id) thinks of the reply at `position` of a session."""

    session: SessionKey
    position: int
    reply: str
    user: str
    verdict: Verdict | None
    text: str | None
    created: datetime


class Feedback:
    """The opinions in a store's database. Every method raises StoreError when the database fails."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def give(
        self,
        key: SessionKey,
        verdict: Verdict | None = None,
        text: str | None = None,
        *,
        user: str | None = None,
        position: int | None = None,
        message_id: str | None = None,
    ) -> int | None:
        """Say what `user` thinks of a reply: the one at `position`, the latest to `message_id`, or the last.

        What is None stays as it was; both None take the opinion back. Returns the reply's position; None when
        there is no such reply in the conversation.
        """
        async with self._store.writing() as db:
            session = await db.run_sync(find, key)
            reply = None if session is None else await _reply(db, session, position, message_id)
            if reply is None:
                return None
            turn, found = reply
            mine = (feedback.c.turn_id == turn) & (feedback.c.user_id == (user or ""))
            if verdict is None and text is None:
                await db.execute(delete(feedback).where(mine))
            else:
                said = {"verdict": verdict, "text": text}
                await _write(db, mine, turn, user or "", {key: said[key] for key in said if said[key]})
        return found

    async def verdicts(self, key: SessionKey, user: str | None = None) -> dict[int, Verdict]:
        """The user's 👍 and 👎 in a session, by the positions of the replies."""
        chosen = (
            select(turns.c.position, feedback.c.verdict)
            .select_from(feedback.join(turns).join(sessions))
            .where(is_key(key), feedback.c.user_id == (user or ""), feedback.c.verdict.is_not(None))
        )
        async with self._store.reading() as db:
            return {row[0]: row[1] for row in await db.execute(chosen)}

    async def recent(self, limit: int) -> list[Opinion]:
        """The opinions given last, the newest first."""
        chosen = (
            select(*_OPINION)
            .select_from(feedback.join(turns).join(sessions))
            .order_by(feedback.c.created.desc(), feedback.c.id.desc())
            .limit(limit)
        )
        async with self._store.reading() as db:
            return [_opinion(row) for row in await db.execute(chosen)]


def _opinion(row: Any) -> Opinion:
    return Opinion(SessionKey(*row[:4]), *row[4:])


async def _reply(
    db: AsyncConnection, session: int, position: int | None, message_id: str | None
) -> tuple[int, int] | None:
    """The row and the position of the bot turn that is meant."""
    chosen = select(turns.c.id, turns.c.position).where(
        turns.c.session_id == session, turns.c.role == "bot", ACTIVE
    )
    if position is not None:
        chosen = chosen.where(turns.c.position == position)
    if message_id is not None:
        chosen = chosen.where(turns.c.message_id == message_id)
    row = (await db.execute(chosen.order_by(turns.c.position.desc()).limit(1))).one_or_none()
    return None if row is None else (row[0], row[1])


async def _write(
    db: AsyncConnection, mine: ColumnElement[bool], turn: int, user: str, said: dict[str, Any]
) -> None:
    """The session's row is locked, so nobody else writes the same opinion now."""
    now = datetime.now(UTC)
    if (await db.execute(update(feedback).where(mine).values(**said, created=now))).rowcount == 0:
        await db.execute(insert(feedback).values(turn_id=turn, user_id=user, created=now, **said))
