"""Texts and their labels from tables and records, by name or by number; what lacks one is refused or passed over."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatgpt2.corpus.labelled import LabelledSource
from chatgpt2.errors import CorpusError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def pairs(path: Path, **options: Any) -> list[tuple[str, str]]:
    return [(each.label, each.text) for each in LabelledSource((path,), **options)]


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.tsv", "label\ttext_a\n1\t好\n0\t差\n", {}),
        ("a.txt", "label\ttext_a\n1\t好\n0\t差\n", {}),
        ("a.csv", 'text,label\n好,1\n"差",0\n', {}),
        ("a.csv", "id,评分,评价\n7,1,好\n8,0,差\n", {"field": "评价"}),
        ("a.csv", "id,mark,words\n7,1,好\n8,0,差\n", {"field": "words", "label": "mark"}),
        ("a.tsv", "1\t好\n0\t差\n", {"label": "1"}),
        ("a.tsv", "7\t1\t好\n8\t0\t差\n", {"label": "2", "field": "3"}),
        ("a.jsonl", '{"text": "好", "label": 1}\n{"text": "差", "label": 0}\n', {}),
        ("a.json", json.dumps([{"review": "好", "y": "1"}, {"review": "差", "y": "0"}]), {}),
    ],
)
def test_text_and_label_are_found(write: Write, name: str, text: str, options: dict[str, Any]) -> None:
    assert pairs(write(name, text), **options) == [("1", "好"), ("0", "差")]


def test_parquet_and_what_is_packed_are_read_too(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict({"text": ["好", "差"], "label": [1, 0]}).to_parquet(str(path))
    assert pairs(path) == [("1", "好"), ("0", "差")]
    packed = tmp_path / "a.tsv.gz"
    packed.write_bytes(gzip.compress("label\ttext\n1\t好\n".encode()))
    assert pairs(packed) == [("1", "好")]


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        (
            "label\ttext\n1\t好\n",
            {"label": "mood"},
            r"a\.tsv, line 2: has no field mood\. There are: label, text; .*--label",
        ),
        ("label\ttext\n1\t好\n", {"field": "words"}, r"has no field words\..*--field"),
        ("label\ttext\n1\t好\n", {"field": "3"}, r"has no field 3\."),
        ("a\tb\tc\n1\t好\t2\n", {"field": "b"}, r"which field is the label\? There are: a, b, c"),
        ("label\ttext\n1\t好\n", {"field": "label"}, "cannot be text and label both"),
        ("label\ttext\n1\t好\n0\t \n", {}, r"line 3: has no text: give it one.*--skip-bad"),
        ("label\ttext\n\t好\n", {}, r"line 2: has no label"),
        ("label\ttext\n1\t好\n1\n", {}, r"line 3: has no field|line 3: which field"),
        ("label\ttext\n", {}, "is empty"),
    ],
)
def test_what_lacks_something_is_named(
    write: Write, text: str, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(CorpusError, match=problem):
        pairs(write("a.tsv", text), **options)


def test_a_label_that_is_many_is_none(write: Write) -> None:
    with pytest.raises(CorpusError, match="holds list, not one label"):
        pairs(write("a.jsonl", '{"text": "好", "label": [1]}\n'))
    with pytest.raises(CorpusError, match="holds int, not text"):
        pairs(write("b.jsonl", '{"text": 5, "label": 1}\n'))


def test_bad_records_are_passed_over_on_request_and_told(write: Write) -> None:
    path = write("a.tsv", "label\ttext\n1\t好\n0\t\n\t坏\n0\n0\t差\n")
    told: list[CorpusError] = []
    source = LabelledSource((path,), skip_bad=True)
    assert [each.text for each in source.read(told.append)] == ["好", "差"]
    assert [error.line for error in told] == [3, 4, 5]
    with pytest.raises(CorpusError, match="has no field mood"):
        pairs(path, label="mood", skip_bad=True)


def test_cleaning_keeps_every_visible_letter(write: Write) -> None:
    assert pairs(write("a.tsv", "label\ttext\n1\t 好\u200b  啊！ \n"), clean=True) == [("1", "好 啊！")]
