"""What an adapter remembers over restarts: JSON values by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from chatgpt2.store.mail_tables import adapter_state
from chatgpt2.store.sessions import SessionStore


class Event(Protocol):
    """What somebody did: an `Inbound` of chatgpt2.adapter."""

    @property
    def platform(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def user_id(self) -> str: ...


class AdapterState:
    """The values of one bot. Every method raises StoreError when the database fails."""

    def __init__(self, store: SessionStore, bot: str) -> None:
        self._store, self._bot = store, bot

    async def get(self, key: str) -> Any:
        """The value, or None."""
        asked = select(adapter_state.c.value).where(*self._where(key))
        return await self._store.read(lambda db: db.scalar(asked))

    async def set(self, key: str, value: Any, *, of: Event | None = None) -> None:
        """Store a value; None deletes it. `of`: it is about whoever did this, and is erased with them; without it the
        value is about whom it was about before."""
        about: dict[str, str] = {}
        if of is not None:
            about = {"platform": of.platform, "account": of.account, "user_id": of.user_id}
        await self._store.write(lambda db: self._set(db, key, value, about))

    def _set(self, db: Connection, key: str, value: Any, about: Mapping[str, str]) -> None:
        if value is None:
            db.execute(delete(adapter_state).where(*self._where(key)))
            return
        change = update(adapter_state).where(*self._where(key)).values(value=value, **about)
        if db.execute(change).rowcount:
            return
        try:
            with db.begin_nested():
                db.execute(insert(adapter_state).values(bot=self._bot, key=key, value=value, **about))
        except IntegrityError:  # another process made it meanwhile
            db.execute(change)

    async def all(self, prefix: str = "") -> dict[str, Any]:
        """Every value whose key begins so."""
        chosen = select(adapter_state.c.key, adapter_state.c.value).where(
            adapter_state.c.bot == self._bot, adapter_state.c.key.startswith(prefix, autoescape=True)
        )
        async with self._store.reading() as db:
            return {row.key: row.value for row in await db.execute(chosen)}

    def _where(self, key: str) -> tuple[Any, ...]:
        return adapter_state.c.bot == self._bot, adapter_state.c.key == key
