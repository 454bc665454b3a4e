"""What holds for every test: nothing of the user's is touched, no network, and CI skips nothing in silence."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fakes.databases import postgresql, postgresql_process, postgresql_server, sqlite, url

__all__ = ["postgresql", "postgresql_process", "postgresql_server", "sqlite", "url"]

# The hubs' packages read these when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ |= {"MODELSCOPE_API_MAX_RETRIES": "1", "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1"}

_KEPT = {"CHATGPT2_DATA", "CHATGPT2_REQUIRE_ALL"}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder per test, and none of the user's settings."""
    for name in os.environ.keys() - _KEPT:
        if name.startswith("CHATGPT2_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CHATGPT2_HOME", str(tmp_path / "home"))


def pytest_collection_finish() -> None:
    """What is imported by now stays, so the collector need not look at it again: it does so for a quarter of a second
    at the end of each training run."""
    gc.collect()
    gc.freeze()


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
def dialogue_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows four dialogues by heart. To be read, not written."""
    from small_models import save_dialogue_model  # torch takes seconds, and few tests need it

    return save_dialogue_model(tmp_path_factory.mktemp("models") / "talks")


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows three texts by heart, with a byte-level tokenizer. To be read, not written."""
    from small_models import save_text_model

    return save_text_model(tmp_path_factory.mktemp("models") / "texts")


@pytest.fixture(scope="session")
def char_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows three lines by heart, character by character. To be read, not written."""
    from small_models import save_char_model

    return save_char_model(tmp_path_factory.mktemp("models") / "poems")
