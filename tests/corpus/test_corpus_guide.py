"""Every example in corpus/README.md is read as the format it stands under."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chatgpt2.corpus import FORMATS, bundled_corpus, open_corpus_file, read_corpus

GUIDE = (bundled_corpus() / "README.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", GUIDE, flags=re.M)[1:]
EXAMPLES = [
    (set(re.findall(r"`(\w+)`", section.split("\n")[0])), name, content)
    for section in SECTIONS
    for name, content in re.findall(r"^```\w+ (\S+)\n(.*?)^```$", section, flags=re.M | re.S)
]


@pytest.mark.parametrize(("formats", "name", "content"), EXAMPLES)
def test_example(tmp_path: Path, formats: set[str], name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert open_corpus_file(path).format in formats
    dialogues = list(read_corpus(path))
    assert dialogues
    assert all(len(dialogue) >= 2 and dialogue.turns[0].role == "user" for dialogue in dialogues)


def test_every_format_has_an_example() -> None:
    assert set().union(*(formats for formats, _, _ in EXAMPLES)) >= set(FORMATS)
