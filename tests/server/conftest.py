"""A small model on the disk, and a server that computes for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.completions import FakeCompletions
from started import LETTERS, save

from chatgpt2.vocabulary import SPECIAL


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "models" / "小模型")


@pytest.fixture
async def fake(saved: Path) -> AsyncIterator[FakeCompletions]:
    async with FakeCompletions(len(SPECIAL) + len(LETTERS)).running() as fake:
        yield fake


@pytest.fixture
def options(saved: Path, fake: FakeCompletions, tmp_path: Path) -> list[str]:
    """Those of a service whose replies come when the test says so."""
    database = f"sqlite:///{tmp_path}/talk.db"
    return ["--model", str(saved), "--engine-url", fake.url, "--database", database]
