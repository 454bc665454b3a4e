"""Where conversations are kept: sessions and their turns in SQLite or PostgreSQL."""

from __future__ import annotations

from chatgpt2.store.adapter_state import AdapterState
from chatgpt2.store.audit import Audit, Deed
from chatgpt2.store.feedback import Feedback, Opinion, Verdict
from chatgpt2.store.keys import ApiKey, ApiKeys
from chatgpt2.store.leases import Leases, free_leases_of_the_dead
from chatgpt2.store.letters import (
    OPINION,
    Arrival,
    Batch,
    Choose,
    Chunk,
    Gate,
    Letter,
    Pause,
    Queue,
    Receipt,
    Sent,
    Waiting,
    Work,
)
from chatgpt2.store.mailbox import Mailbox
from chatgpt2.store.order import SessionOrder
from chatgpt2.store.overview import Activity, count_sessions, latest_activity
from chatgpt2.store.people import People, Person
from chatgpt2.store.records import Exchange, SessionInfo, SessionKey, Standing, StoredTurn
from chatgpt2.store.sessions import SessionStore

__all__ = [
    "OPINION",
    "Activity",
    "AdapterState",
    "ApiKey",
    "ApiKeys",
    "Arrival",
    "Audit",
    "Batch",
    "Choose",
    "Chunk",
    "Deed",
    "Exchange",
    "Feedback",
    "Gate",
    "Leases",
    "Letter",
    "Mailbox",
    "Opinion",
    "Pause",
    "People",
    "Person",
    "Queue",
    "Receipt",
    "Sent",
    "SessionInfo",
    "SessionKey",
    "SessionOrder",
    "SessionStore",
    "Standing",
    "StoredTurn",
    "Verdict",
    "Waiting",
    "Work",
    "count_sessions",
    "free_leases_of_the_dead",
    "latest_activity",
]
