"""Sessions and their turns. An exchange is written in one transaction: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.store import exchanges
from chatgpt2.store.database import Database
from chatgpt2.store.order import SessionOrder
from chatgpt2.store.records import Exchange, Removal, SessionInfo, SessionKey, Standing, StoredTurn
from chatgpt2.store.rows import ACTIVE, claim, find, is_key
from chatgpt2.store.tables import sessions, turns
from chatgpt2.store.together import SmallWork

_RECORDED = "position role text created user_id message_id model tokens latency removed removed_why"
_RECORD = [turns.c[name] for name in _RECORDED.split()]


def _count(which: ColumnElement[bool]) -> ScalarSelect[int]:
    """Turns of each session. A subquery for each row: of many sessions only those listed are counted."""
    return select(func.count()).where(turns.c.session_id == sessions.c.id, which).scalar_subquery()


_INFO: Select[Any] = select(
    *(sessions.c.platform, sessions.c.account, sessions.c.chat, sessions.c.thread),
    *(sessions.c.created, sessions.c.last_active, sessions.c.title),
    *(_count(ACTIVE), _count(turns.c.removed.is_not(None))),
)


def _info(row: Any) -> SessionInfo:
    return SessionInfo(SessionKey(*row[:4]), row[4], row[5], row[7], row[8], title=row[6])


class SessionStore(Database):
    """All conversations of one database. Open it with `await SessionStore.open(url)`.

    A removed turn (reset, undo, retry) leaves the conversation and stays on record until `delete`. `order` is kept
    by who asks it: see SessionOrder.
    Every method raises StoreError when the database fails.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.order = SessionOrder(engine)

    async def close(self) -> None:
        """Close the connections. Who asks from now on gets StoreError; who is in a transaction may end it."""
        self._closed = True
        await self.order.close()
        await super().close()

    async def load(self, key: SessionKey) -> Dialogue:
        """The whole conversation; empty for a session that nobody has spoken in."""
        chosen = (
            select(turns.c.role, turns.c.text)
            .join(sessions)
            .where(is_key(key), ACTIVE)
            .order_by(turns.c.position)
        )
        async with self.reading() as db:
            return Dialogue(tuple(Turn(role, text) for role, text in await db.execute(chosen)))

    async def standing(self, key: SessionKey, most: int, message_id: str | None = None) -> Standing | None:
        """Where the conversation stands, with its latest turns: `most` of them, if there are so many, or some more.
        None: there is no such session."""
        work: SmallWork[Standing | None] = partial(
            exchanges.standing, key=key, message_id=message_id, most=most
        )
        return await self.read_small(work)

    async def append(
        self,
        key: SessionKey,
        user_text: str,
        bot_text: str,
        *,
        message_id: str | None = None,
        user_id: str | None = None,
        model: str | None = None,
        tokens: int | None = None,
        latency: float | None = None,
        removed: Removal | None = None,
    ) -> str:
        """Store an exchange; return the reply that stands: `bot_text`, or the earlier one when another
        process has answered the same message meanwhile. With `removed` it is only on record."""
        user = {"text": user_text, "user_id": user_id}
        bot = {"text": bot_text, "model": model, "tokens": tokens, "latency": latency}
        work: SmallWork[str] = partial(
            exchanges.append, key=key, user=user, bot=bot, message_id=message_id, removed=removed
        )
        return await self.write_small(work)

    async def replace_reply(
        self,
        key: SessionKey,
        bot_text: str,
        *,
        model: str | None = None,
        tokens: int | None = None,
        latency: float | None = None,
    ) -> None:
        """Put `bot_text` in the place of the last reply, which stays on record as retried."""
        bot = {"text": bot_text, "model": model, "tokens": tokens, "latency": latency}
        await self.write(lambda db: exchanges.replace_reply(db, key, bot))

    async def clear(self, key: SessionKey) -> int:
        """Start the conversation over. How many turns left it."""
        return await self.write(lambda db: exchanges.clear(db, key))

    async def undo(self, key: SessionKey) -> Exchange | None:
        """Take back the last exchange, if there is one."""
        return await self.write(lambda db: exchanges.undo(db, key))

    async def find_reply(self, key: SessionKey, message_id: str) -> str | None:
        """The reply that this message got, also when it has left the conversation since."""
        found = await self.standing(key, 1, message_id)
        return None if found is None else found.earlier

    async def sessions(
        self,
        platform: str | None = None,
        limit: int | None = None,
        before: SessionKey | None = None,
        account: str | None = None,
    ) -> list[SessionInfo]:
        """The sessions (of one platform, account), the one last spoken in first. `before`: begin after this one."""
        chosen = _INFO.order_by(sessions.c.last_active.desc(), sessions.c.id.desc()).limit(limit)
        place = {"platform": platform, "account": account}
        chosen = chosen.filter_by(**{name: value for name, value in place.items() if value is not None})
        async with self.reading() as db:
            if before is not None:
                there = select(sessions.c.last_active, sessions.c.id).where(is_key(before))
                active, number = (await db.execute(there)).one()
                tied = and_(sessions.c.last_active == active, sessions.c.id < number)
                chosen = chosen.where(or_(sessions.c.last_active < active, tied))
            return [_info(row) for row in await db.execute(chosen)]

    async def exists(self, key: SessionKey) -> bool:
        """Whether there is such a session."""
        async with self.reading() as db:
            return await db.scalar(select(sessions.c.id).where(is_key(key))) is not None

    async def info(self, key: SessionKey) -> SessionInfo | None:
        """The session, if there is one."""
        async with self.reading() as db:
            row = (await db.execute(_INFO.where(is_key(key)))).one_or_none()
        return None if row is None else _info(row)

    async def create(self, key: SessionKey, title: str | None = None) -> None:
        """Make a session that nobody has spoken in yet."""
        async with self.writing() as db:
            session = await db.run_sync(claim, key, datetime.now(UTC))
            await db.execute(update(sessions).where(sessions.c.id == session).values(title=title))

    async def rename(self, key: SessionKey, title: str | None) -> None:
        """Give the session a title, or take it away."""
        async with self.writing() as db:
            await db.execute(update(sessions).where(is_key(key)).values(title=title))

    async def record(self, key: SessionKey) -> list[StoredTurn]:
        """Every turn ever stored in this session, the removed ones too."""
        chosen = select(*_RECORD).join(sessions).where(is_key(key)).order_by(turns.c.position)
        async with self.reading() as db:
            return [StoredTurn(*row) for row in await db.execute(chosen)]

    async def delete(self, key: SessionKey) -> bool:
        """Delete a session with all that was said in it. False: there is none."""
        async with self.writing() as db:
            session = await db.run_sync(find, key)
            if session is None:
                return False
            await db.execute(delete(turns).where(turns.c.session_id == session))
            await db.execute(delete(sessions).where(sessions.c.id == session))
        return True

    async def own(self, key: SessionKey) -> tuple[dict[str, Any], tuple[Turn, ...] | None]:
        """This session's own settings, and its own opening turns; None: it has none."""
        async with self.reading() as db:
            chosen = select(sessions.c.settings, sessions.c.persona).where(is_key(key))
            settings, persona = (await db.execute(chosen)).one_or_none() or ({}, None)
        turns_ = None if persona is None else tuple(Turn(role, text) for role, text in persona)
        return dict(settings), turns_

    async def set_settings(self, key: SessionKey, settings: Mapping[str, Any]) -> None:
        """Replace this session's own settings."""
        async with self.writing() as db:
            session = await db.run_sync(claim, key, datetime.now(UTC))
            await db.execute(update(sessions).where(sessions.c.id == session).values(settings=dict(settings)))

    async def set_persona(self, key: SessionKey, persona: Iterable[Turn] | None) -> None:
        """Replace this session's opening turns; None: back to the model's own."""
        kept = None if persona is None else [[turn.role, turn.text] for turn in persona]
        async with self.writing() as db:
            session = await db.run_sync(claim, key, datetime.now(UTC))
            await db.execute(update(sessions).where(sessions.c.id == session).values(persona=kept))
