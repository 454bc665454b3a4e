"""Where conversations are kept: sessions and their turns in SQLite or PostgreSQL."""

from __future__ import annotations

from chatgpt2.store.keys import ApiKey, ApiKeys
from chatgpt2.store.records import Exchange, SessionInfo, SessionKey, StoredTurn
from chatgpt2.store.sessions import SessionStore

__all__ = ["ApiKey", "ApiKeys", "Exchange", "SessionInfo", "SessionKey", "SessionStore", "StoredTurn"]
