from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from chatgpt2.corpus import Tally, bundled_corpus, corpus_files, read_corpus
from chatgpt2.errors import ConfigError, CorpusError

CHAT = "你好\n你好呀\n\n吃了吗\n吃过了\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.txt").write_text(CHAT, encoding="utf-8")
    (tmp_path / "b" / "deep" / "c.jsonl").write_text('["你好", "在"]\n', encoding="utf-8")
    (tmp_path / "b" / "d.txt.gz").write_bytes(gzip.compress(CHAT.encode("gb18030")))
    (tmp_path / "README").write_text("说明\n", encoding="utf-8")
    (tmp_path / "LICENSE.txt").write_text("许可\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("# 说明\n", encoding="utf-8")
    (tmp_path / "make.py").write_text("print()\n", encoding="utf-8")
    (tmp_path / "photo.bin").write_bytes(bytes(range(256)))
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    (tmp_path / "novel.txt").write_text("从前有座山，山里有座庙。\n\n" * 20, encoding="utf-8")
    (tmp_path / ".git" / "config.txt").write_text(CHAT, encoding="utf-8")
    (tmp_path / "__init__.py").write_text("", encoding="utf-8")
    return tmp_path


def test_folders_are_read_in_order_and_prose_is_passed_over_and_said(folder: Path) -> None:
    said: list[tuple[str, str]] = []
    files = corpus_files([folder], lambda path, why: said.append((path.name, why)))
    assert [path.name for path in files] == ["a.txt", "d.txt.gz", "c.jsonl"]
    assert sorted(said) == [
        ("LICENSE.txt", "it is about the corpus, not part of it"),
        ("README", "it is about the corpus, not part of it"),
        ("empty.txt", "it is empty"),
        ("make.py", "it is code"),
        ("notes.md", "it is prose"),
        ("novel.txt", "it looks like prose; name the file itself to read it all the same"),
        ("photo.bin", "it is not text"),
    ]


def test_a_folder_is_read_as_one_corpus(folder: Path) -> None:
    tally = Tally()
    assert len(list(read_corpus(folder, tally=tally))) == 5
    assert (tally.files, tally.dialogues, tally.turns, len(tally.skipped)) == (3, 5, 10, 7)


def test_a_file_named_itself_is_read_whatever_it_is_called(folder: Path) -> None:
    assert len(list(read_corpus(folder / "novel.txt"))) == 20
    assert len(list(read_corpus(folder / "README"))) == 1


def test_no_file_comes_twice(folder: Path) -> None:
    files = corpus_files([folder / "a.txt", folder, folder / "b"])
    assert [path.name for path in files] == ["a.txt", "d.txt.gz", "c.jsonl"]


def test_a_missing_folder_and_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file or folder"):
        corpus_files([tmp_path / "nothing"])
    with pytest.raises(ConfigError, match="text, tabs, json"):
        read_corpus(tmp_path, format="yaml")


def test_a_forced_format(folder: Path) -> None:
    assert len(list(read_corpus(folder / "a.txt", format="tabs"))) == 4


def test_reading_does_not_run_ahead(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    path.write_text('["你好", "在"]\n' * 1000 + "{broken\n", encoding="utf-8")
    dialogues = read_corpus(path)
    assert [len(next(dialogues)) for _ in range(1000)] == [2] * 1000
    with pytest.raises(CorpusError, match="line 1001"):
        next(dialogues)


def test_the_bundled_corpus_is_found() -> None:
    assert len(list(read_corpus(bundled_corpus()))) >= 1200
