from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chatgpt2.corpus import read_corpus
from chatgpt2.errors import CorpusError

Said = list[list[tuple[str, str]]]  # per dialogue: (role, text) per turn
Read = Callable[..., Said]
Complaints = Callable[..., list[tuple[int | None, str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a file, read it as a corpus, and tell who said what."""

    def run(content: str | bytes, name: str = "chat.txt", **options: object) -> Said:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [[(t.role, t.text) for t in d.turns] for d in read_corpus(path, **options)]  # type: ignore[arg-type]

    return run


@pytest.fixture
def complaints(read: Read) -> Complaints:
    """Write a file, read it with `on_bad`, and tell the lines and problems."""

    def run(content: str | bytes, name: str = "chat.txt", **options: object) -> list[tuple[int | None, str]]:
        errors: list[CorpusError] = []
        read(content, name, on_bad=errors.append, **options)
        return [(error.line, error.problem) for error in errors]

    return run
