"""A corpus and a vocabulary small enough to train on in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorder import Recorder

from chatgpt2.checkpoint import SIZES
from chatgpt2.training.dialogue import Result, train_dialog
from chatgpt2.training.options import TrainOptions
from chatgpt2.vocabulary import SPECIAL

WORDS = "天地人你我他早晚好吃饭睡觉书山水火木金土风云雨雪花鸟鱼虫一二三四五六七八九十"


def write_corpus(path: Path, dialogues: int, seed: int = 0) -> Path:
    """Dialogues in which the reply repeats the question's words: something that can be learned."""
    rng = random.Random(seed)
    blocks = []
    for _ in range(dialogues):
        asked = "".join(rng.choices(WORDS, k=rng.randint(2, 6)))
        blocks.append(f"{asked}吗\n{asked}了\n" + ("好\n" if rng.random() < 0.5 else ""))
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "echo.txt", 120)


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *dict.fromkeys(WORDS), "吗", "了"]), encoding="utf-8")
    return path


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the width of the real `tiny`: what is tested does not depend on it, and steps are quicker."""
    monkeypatch.setitem(SIZES, "tiny", (4, 128))


@pytest.fixture
def options(corpus: Path, vocabulary: Path, tmp_path: Path, narrow: None) -> TrainOptions:
    return TrainOptions(
        corpus=(corpus,),
        out=tmp_path / "out",
        size="tiny",
        vocabulary=vocabulary,
        steps=8,
        batch_tokens=128,
        precision="fp32",
        device="cpu",
        threads=1,  # so small a model gains nothing from a second one
        samples=1,
        eval_every=4,
        save_every=1000,
    )


@pytest.fixture
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Result, Recorder]]:
    cache = tmp_path_factory.mktemp("cache")

    def run(options: TrainOptions, **kwargs: Any) -> tuple[Result, Recorder]:
        recorder = Recorder()
        return train_dialog(options, cache, recorder, **kwargs), recorder

    return run
