"""Whom a value that an adapter remembers is about, so that it goes with the person.

A migration spells its types out: it must make the same tables for ever, whatever the models become.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, length in (("platform", 64), ("account", 255), ("user_id", 255)):
        op.add_column("adapter_state", sa.Column(name, sa.String(length)))
