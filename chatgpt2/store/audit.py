"""Who did what to the service: keys, models, exports, erasures. Never what was said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select

from chatgpt2.store.sessions import SessionStore
from chatgpt2.store.tables import audit


@dataclass(frozen=True, slots=True)
class Deed:
    """One entry. `actor` is "cli", "key LABEL" or a platform's user."""

    at: datetime
    actor: str
    action: str
    detail: Mapping[str, Any]


class Audit:
    """The audit in a store's database. Every method raises StoreError when the database fails."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def note(self, actor: str, action: str, **detail: Any) -> None:
        """Add an entry; `detail` must go into JSON."""
        row = {"at": datetime.now(UTC), "actor": actor, "action": action, "detail": detail}
        async with self._store.writing() as db:
            await db.execute(insert(audit).values(**row))

    async def recent(self, limit: int) -> list[Deed]:
        """The last entries, the newest first."""
        columns = (audit.c.at, audit.c.actor, audit.c.action, audit.c.detail)
        async with self._store.reading() as db:
            found = await db.execute(select(*columns).order_by(audit.c.id.desc()).limit(limit))
            return [Deed(*row) for row in found]
