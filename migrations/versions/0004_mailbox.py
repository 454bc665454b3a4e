"""Inbox and outbox of the bots, their leases, and what adapters remember.

A migration spells its types out: it must make the same tables for ever, whatever the models become.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _make_queues()
    _make_inbox()
    _make_outbox()
    op.create_table(
        "leases",
        sa.Column("name", sa.String(400), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "adapter_state",
        sa.Column("bot", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("bot", "key", name="pk_adapter_state"),
    )


def _make_queues() -> None:
    op.create_table(
        "queues",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("platform", sa.String(64), nullable=False),
        sa.Column("account", sa.String(255), nullable=False),
        sa.Column("chat", sa.String(255), nullable=False),
        sa.Column("thread", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("leased_until", TIME),
        sa.Column("due", TIME),
        sa.Column("stop", sa.BigInteger),
        sa.Column("greeted", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_queues"),
        sa.UniqueConstraint(
            "platform", "account", "chat", "thread", name="uq_queues_platform_account_chat_thread"
        ),
    )
    op.create_index("ix_queues_due", "queues", ["due"])


def _make_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("queue_id", ROW_ID, nullable=False),
        sa.Column("platform", sa.String(64), nullable=False),
        sa.Column("account", sa.String(255), nullable=False),
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("batch", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent", sa.Float),
        sa.Column("received", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_inbox"),
        sa.ForeignKeyConstraint(
            ["queue_id"], ["queues.id"], name="fk_inbox_queue_id_queues", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("platform", "account", "message_id", name="uq_inbox_platform_account_message_id"),
    )
    op.create_index("ix_inbox_queue", "inbox", ["queue_id", "state"])
    op.create_index("ix_inbox_received", "inbox", ["received"])
    op.create_index("ix_inbox_user", "inbox", ["platform", "account", "user_id", "received"])


def _make_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("queue_id", ROW_ID, nullable=False),
        sa.Column("inbox_id", ROW_ID, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("feedback_id", sa.String(40)),
        sa.Column("begun", sa.Boolean, nullable=False),
        sa.Column("done", TIME),
        sa.Column("platform_id", sa.String(255)),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.ForeignKeyConstraint(
            ["queue_id"], ["queues.id"], name="fk_outbox_queue_id_queues", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["inbox_id"], ["inbox.id"], name="fk_outbox_inbox_id_inbox", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("inbox_id", "position", name="uq_outbox_inbox_id_position"),
    )
    op.create_index("ix_outbox_queue", "outbox", ["queue_id", "done"])
    op.create_index("ix_outbox_platform_id", "outbox", ["platform_id"])
