"""SQLite's own connections of a store: what they are asked, and what they are told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event


@contextmanager
def opened(*before: str) -> Iterator[list[sqlite3.Connection]]:
    """Those that are opened meanwhile for threads, and for the event loop's; `before` is executed on each."""
    found: list[sqlite3.Connection] = []

    def note(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            found.append(connection)
            for statement in before:
                connection.execute(statement)

    event.listen(Engine, "connect", note)
    try:
        yield found
    finally:
        event.remove(Engine, "connect", note)
