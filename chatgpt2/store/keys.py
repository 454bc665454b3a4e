"""API keys. Only a hash of each is stored: whoever reads the database cannot use them."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update

from chatgpt2.errors import ConfigError
from chatgpt2.store.sessions import SessionStore
from chatgpt2.store.tables import api_keys

_PREFIX = "cg2-"  # so that a key found in a file is known for what it is
_BYTES = 32
_COLUMNS = (
    *(api_keys.c.label, api_keys.c.per_minute, api_keys.c.created),
    *(api_keys.c.expires, api_keys.c.revoked),
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is on record. `per_minute`: the requests it allows; 0: any number, None: as the service has it."""

    label: str
    per_minute: int | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None

    def good(self, now: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class ApiKeys:
    """The keys in a store's database. Every method raises StoreError when the database fails."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def create(self, label: str, days: int | None = None, per_minute: int | None = None) -> str:
        """Make a key and return it. It cannot be had again. Raises ConfigError when the label is in use."""
        key, now = _PREFIX + secrets.token_urlsafe(_BYTES), datetime.now(UTC)
        expires = None if days is None else now + timedelta(days=days)
        row = {"label": label, "hash": _hash(key), "per_minute": per_minute, "created": now}
        async with self._store.writing() as db:
            if await db.scalar(select(api_keys.c.id).where(api_keys.c.label == label)):
                raise ConfigError(f"there is a key {label!r} already: choose another label")
            await db.execute(insert(api_keys).values(**row, expires=expires))
        return key

    async def renew(self, label: str, days: int | None = None) -> str:
        """Make another key in the place of this one, which opens nothing from now on: what was said with the old one
        is the new one's. Raises ConfigError when there is none of this label."""
        key, now = _PREFIX + secrets.token_urlsafe(_BYTES), datetime.now(UTC)
        expires = None if days is None else now + timedelta(days=days)
        new = {"hash": _hash(key), "created": now, "expires": expires, "revoked": None}
        async with self._store.writing() as db:
            chosen = update(api_keys).where(api_keys.c.label == label)
            if (await db.execute(chosen.values(**new))).rowcount == 0:
                raise ConfigError(f"there is no key {label!r}: `chatgpt2 keys list` shows them")
        return key

    async def find(self, key: str) -> ApiKey | None:
        """The key on record, if it is good now."""
        async with self._store.reading() as db:
            row = (await db.execute(select(*_COLUMNS).where(api_keys.c.hash == _hash(key)))).one_or_none()
        found = None if row is None else _record(row)
        return found if found and found.good(datetime.now(UTC)) else None

    async def all(self) -> list[ApiKey]:
        """Every key ever made, the oldest first."""
        async with self._store.reading() as db:
            return [_record(row) for row in await db.execute(select(*_COLUMNS).order_by(api_keys.c.id))]

    async def revoke(self, label: str) -> bool:
        """Let a key open nothing any more. False: there is no good one of this label."""
        chosen = update(api_keys).where(api_keys.c.label == label, api_keys.c.revoked.is_(None))
        async with self._store.writing() as db:
            return (await db.execute(chosen.values(revoked=datetime.now(UTC)))).rowcount > 0


def _record(row: Any) -> ApiKey:
    return ApiKey(*row)


def _hash(key: str) -> str:
    """A key has 256 random bits, so nothing slower than one hash is needed against guessing."""
    return hashlib.sha256(key.encode()).hexdigest()
