"""A small model on the disk, and a server that computes for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.completions import FakeCompletions

from chatgpt2.card import Card
from chatgpt2.checkpoint import create_model, save_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.vocabulary import SPECIAL, vocabulary_hash

LETTERS = "天地人你我他好吗呢吧啊呀的了在有不这那说看想来去上下大小多少早晚今明昨日月年水火木金土山河花草鸟鱼"


def save(directory: Path) -> Path:
    """A model that has learned nothing."""
    codec = Codec([*SPECIAL, *LETTERS], 128)
    card = Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=128)
    save_checkpoint(directory, create_model("tiny", codec), codec, card)
    return directory


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
