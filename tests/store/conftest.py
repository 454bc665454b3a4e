"""The databases that the store is tested on: a SQLite file, and a PostgreSQL of our own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/chat.db"
    made: str = request.getfixturevalue("postgresql")
    return made
