"""Sessions and turns.

A migration spells its types out: it must make the same tables for ever, whatever the models become.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("platform", sa.String(64), nullable=False),
        sa.Column("account", sa.String(255), nullable=False),
        sa.Column("chat", sa.String(255), nullable=False),
        sa.Column("thread", sa.String(255), nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("last_active", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint(
            "platform", "account", "chat", "thread", name="uq_sessions_platform_account_chat_thread"
        ),
    )
    op.create_index("ix_sessions_last_active", "sessions", ["last_active"])
    op.create_table(
        "turns",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("session_id", ROW_ID, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("user_id", sa.String(255)),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("message_id", sa.String(255)),
        sa.Column("model", sa.String(255)),
        sa.Column("tokens", sa.Integer),
        sa.Column("latency", sa.Float),
        sa.Column("created", TIME, nullable=False),
        sa.Column("removed", TIME),
        sa.Column("removed_why", sa.String(16)),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_turns_session_id_sessions", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("session_id", "position", name="uq_turns_session_id_position"),
    )
    _index_user_messages()


def _index_user_messages() -> None:
    from_platform = sa.text("role = 'user' AND message_id IS NOT NULL")
    op.create_index(
        "uq_turns_user_message",
        "turns",
        ["session_id", "message_id"],
        unique=True,
        sqlite_where=from_platform,
        postgresql_where=from_platform,
    )
