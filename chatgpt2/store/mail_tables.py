"""The tables of the bots: what came in, what goes out, who works on it, what an adapter remembers."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from chatgpt2.store.tables import RowId, UtcDateTime, metadata

# One row for each conversation on a platform; who holds its lease answers in it. `due`: since when there is work,
# null: none. `stop`: everything that came in before this inbox row is not to be answered any more.
queues = Table(
    "queues",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("platform", String(64), nullable=False),
    Column("account", String(255), nullable=False),
    Column("chat", String(255), nullable=False),
    Column("thread", String(255), nullable=False),
    Column("owner", String(64)),
    Column("leased_until", UtcDateTime),
    Column("due", UtcDateTime, index=True),
    Column("stop", BigInteger),
    Column("greeted", UtcDateTime),
    UniqueConstraint("platform", "account", "chat", "thread"),
)

# `batch`: the inbox row that this one is answered with, the last of a burst; null until it is claimed.
inbox = Table(
    "inbox",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("queue_id", ForeignKey(queues.c.id, ondelete="CASCADE"), nullable=False),
    Column("platform", String(64), nullable=False),
    Column("account", String(255), nullable=False),
    Column("message_id", String(255), nullable=False),
    Column("user_id", String(255), nullable=False),
    Column("event", JSON, nullable=False),
    Column("state", String(8), nullable=False),
    Column("batch", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("sent", Float),
    Column("received", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("platform", "account", "message_id"),
    Index("ix_inbox_queue", "queue_id", "state"),
    Index("ix_inbox_user", "platform", "account", "user_id", "received"),
)

# One row for each chunk of an answer. `begun`: sending it may have begun. `done` with no `platform_id`: dropped.
outbox = Table(
    "outbox",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("queue_id", ForeignKey(queues.c.id, ondelete="CASCADE"), nullable=False),
    Column("inbox_id", ForeignKey(inbox.c.id, ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("feedback_id", String(40)),
    Column("begun", Boolean, nullable=False),
    Column("done", UtcDateTime),
    Column("platform_id", String(255), index=True),
    UniqueConstraint("inbox_id", "position"),
    Index("ix_outbox_queue", "queue_id", "done"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(400), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

# `platform`, `account`, `user_id`: whom the value is about, as in the inbox; null: nobody.
adapter_state = Table(
    "adapter_state",
    metadata,
    Column("bot", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("platform", String(64)),
    Column("account", String(255)),
    Column("user_id", String(255)),
)
