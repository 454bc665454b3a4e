"""Where conversations are kept: sessions and their turns in SQLite or PostgreSQL."""

from __future__ import annotations

from chatgpt2.store.audit import Audit, Deed
from chatgpt2.store.feedback import Feedback, Opinion, Verdict
from chatgpt2.store.keys import ApiKey, ApiKeys
from chatgpt2.store.overview import Activity, count_sessions, latest_activity
from chatgpt2.store.people import People, Person
from chatgpt2.store.records import Exchange, SessionInfo, SessionKey, StoredTurn
from chatgpt2.store.sessions import SessionStore

__all__ = [
    "Activity",
    "ApiKey",
    "ApiKeys",
    "Audit",
    "Deed",
    "Exchange",
    "Feedback",
    "Opinion",
    "People",
    "Person",
    "SessionInfo",
    "SessionKey",
    "SessionStore",
    "StoredTurn",
    "Verdict",
    "count_sessions",
    "latest_activity",
]
