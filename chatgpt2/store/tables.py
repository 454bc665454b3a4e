"""The tables. A change here needs a migration in migrations/versions; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite has no time zones and gives a naive value back; here it never leaves so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite counts rows by itself only in a column whose type is exactly INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

# Named constraints, because a migration can only change what has a name.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("platform", String(64), nullable=False),
    Column("account", String(255), nullable=False),
    Column("chat", String(255), nullable=False),
    Column("thread", String(255), nullable=False),
    Column("title", Text),
    Column("settings", JSON, nullable=False),
    Column("persona", JSON(none_as_null=True)),  # opening turns of this session's own; NULL: the model's
    Column("created", UtcDateTime, nullable=False),
    Column("last_active", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("platform", "account", "chat", "thread"),
)

turns = Table(
    "turns",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("session_id", ForeignKey(sessions.c.id, ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("role", String(8), nullable=False),
    Column("user_id", String(255)),
    Column("text", Text, nullable=False),
    Column("message_id", String(255)),
    Column("model", String(255)),
    Column("tokens", Integer),
    Column("latency", Float),
    Column("created", UtcDateTime, nullable=False),
    Column("removed", UtcDateTime),
    Column("removed_why", String(16)),
    UniqueConstraint("session_id", "position"),
)

# A message is stored once however often its platform delivers it. The reply carries the id of the message
# it answers, and a retry makes a second reply, so only user turns are bound to be unique.
_from_platform = and_(turns.c.role == "user", turns.c.message_id.is_not(None))
Index(
    "uq_turns_user_message",
    turns.c.session_id,
    turns.c.message_id,
    unique=True,
    sqlite_where=_from_platform,
    postgresql_where=_from_platform,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("label", String(100), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("per_minute", Integer),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime),
    Column("revoked", UtcDateTime),
)

# What somebody thinks of a reply. Who has no user id (the terminal, the page) is the user "".
feedback = Table(
    "feedback",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("turn_id", ForeignKey(turns.c.id, ondelete="CASCADE"), nullable=False),
    Column("user_id", String(255), nullable=False),
    Column("verdict", String(8)),
    Column("text", Text),
    Column("created", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("turn_id", "user_id"),
)

# Whose words may not be trained on.
opt_outs = Table(
    "opt_outs",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("platform", String(64), nullable=False),
    Column("account", String(255), nullable=False),
    Column("user_id", String(255), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    UniqueConstraint("platform", "account", "user_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("actor", String(255), nullable=False),
    Column("action", String(64), nullable=False),
    Column("detail", JSON, nullable=False),
)
