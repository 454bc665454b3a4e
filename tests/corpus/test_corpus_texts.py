"""Texts are read from every kind of file, and what is wrong with one is said with its line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt2.corpus.texts import TextSource, text_files, tidy
from chatgpt2.errors import ConfigError, CorpusError


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def texts(path: Path, shape: Any = "lines", **options: Any) -> list[str]:
    return list(TextSource(text_files([path]), shape, **options))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab。天 \t\n", max_size=60).filter(str.strip))
def test_a_stream_is_the_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = written(tmp_path_factory.mktemp("stream") / "a.txt", text)
    pieces = texts(path, "stream")
    assert "".join(pieces) == text
    assert not any(piece[:-1].endswith("\n") and piece.strip() and piece[0] != "\n" for piece in pieces[1:])


def test_long_lines_are_cut_where_tokens_end(tmp_path: Path) -> None:
    text = "word and " * 1000 + "\n" + "天地玄黄，宇宙洪荒。" * 1000
    pieces = texts(written(tmp_path / "long.txt", text), "stream")
    assert "".join(pieces) == text
    assert max(map(len, pieces)) < 5000
    assert len(pieces) > 3


def test_files_of_a_stream_are_joined_at_a_line(tmp_path: Path) -> None:
    written(tmp_path / "a.txt", "一")
    written(tmp_path / "b.txt", "二\r\n三\r\n")
    assert "".join(texts(tmp_path, "stream")) == "一\n二\n三\n"


def test_lines_and_paragraphs(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "一\r\n二\r\n\r\n \n三\n")
    assert texts(path) == ["一", "二", "三"]
    assert texts(path, "records") == ["一\n二", "三"]


@pytest.mark.parametrize(
    ("name", "content", "field", "wanted"),
    [
        ("a.csv", 'label,review\n1,"好,很好"\n0,"差\n极"\n', "review", ["好,很好", "差\n极"]),
        ("a.csv", "1,好\n0,差\n", "2", ["好", "差"]),
        ("a.csv", "text\n好\n差\n", None, ["好", "差"]),
        ("a.tsv", "label\ttext_a\n1\t好\n0\t差\n", None, ["好", "差"]),
        ("a.tsv", "label\ttext_a\n1\t好\n0\t差\n", "2", ["好", "差"]),
        ("a.txt", "620\tAnimal Farm\tOld Major\n621\tDune\tPaul\n", "3", ["Old Major", "Paul"]),
        (
            "a.jsonl",
            '{"id": 1, "text": "好"}\n{"id": 2, "text": null}\n{"id": 3, "text": "差"}\n',
            None,
            ["好", "差"],
        ),
        ("a.json", '[{"t": "好"}, {"t": "差"}]', "t", ["好", "差"]),
        ("a.json", '["好", "差"]', None, ["好", "差"]),
    ],
)
def test_one_field_of_each_record_is_the_text(
    tmp_path: Path, name: str, content: str, field: str | None, wanted: list[str]
) -> None:
    path = written(tmp_path / name, content)
    assert texts(path, field=field) == wanted
    assert "".join(texts(path, "stream", field=field)).split() == "\n".join(wanted).split()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_parquet_and_arrow_are_read_through_datasets(tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"label": [1, 0], "text": ["好", "差"]})
    if kind == "parquet":
        data.to_parquet(str(tmp_path / "a.parquet"))
    else:
        data.save_to_disk(str(tmp_path / "saved"))
    assert texts(tmp_path) == ["好", "差"]
    assert texts(tmp_path, field="2") == ["好", "差"]
    with pytest.raises(CorpusError, match=r"no field review.*label, text.*--field"):
        texts(tmp_path, field="review")


def test_without_datasets_parquet_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install chatgpt2\[datasets\]"):
        texts(written(tmp_path / "a.parquet", b"PAR1"))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(CorpusError, match=r"a\.parquet: cannot be read as parquet"):
        texts(written(tmp_path / "a.parquet", b"PAR1 but no more"))


@pytest.mark.parametrize(
    ("name", "content", "field", "problem"),
    [
        ("a.txt", "", None, "is empty"),
        ("a.txt", " \n\n", None, "is empty"),
        ("a.csv", "label,review\n1,好\n", "text", "line 2: has no field text. There are: label, review"),
        ("a.csv", "label,review\n1,好\n", "3", "has no field 3"),
        ("a.csv", "label,view\n1,好\n", None, "which field is the text.*--field"),
        ("a.csv", "label,review\n1,好\n\n0\n", "review", "line 4: has no field review"),
        ("a.jsonl", '{"text": "好"}\n{"text": 5}\n', None, "line 2: field text holds int"),
        ("a.jsonl", '{"text": "好"}\n{"text": \n', None, "line 2: is not JSON"),
        ("a.jsonl", "[[1]]", None, "expected an object"),
        (
            "a.txt",
            "天地玄黄宇宙洪荒日月盈昃\n天\n".encode() + b"\xff\xfe\xfa\n",
            None,
            "line 3: has a byte that is not utf-8",
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, name: str, content: str | bytes, field: str | None, problem: str
) -> None:
    with pytest.raises(CorpusError, match=problem) as caught:
        texts(written(tmp_path / name, content), field=field)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_encodings_are_found(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.txt", "天地玄黄，宇宙洪荒。\n".encode("gb18030"))) == [
        "天地玄黄，宇宙洪荒。"
    ]
    assert texts(written(tmp_path / "b.txt", "天地\n".encode("utf-16"))) == ["天地"]


def test_folders_give_what_looks_like_text(tmp_path: Path) -> None:
    for name in ("b.txt", ".hidden.txt", "a.jsonl", "picture.png", "state.json"):
        written(tmp_path / name, json.dumps("x"))
    assert [path.name for path in text_files([tmp_path])] == ["a.jsonl", "b.txt"]
    with pytest.raises(CorpusError, match="no such file"):
        text_files([tmp_path / "missing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no file"):
        text_files([tmp_path / "empty"])


def test_cleaning_takes_nothing_that_can_be_seen(tmp_path: Path) -> None:
    marks = "，。！？；：“”‘’（）《》【】、—…·~@#$%^&*()_+-=[]{}|;':\",./<>?～￥"
    assert tidy(f"  {marks}  ", keep_lines=False) == marks
    assert tidy("e\u0301  \u200bx\t y", keep_lines=False) == "é x y"
    path = written(tmp_path / "a.txt", "一  二\n\n\n   三\u200b\n")
    assert "".join(texts(path, "stream", clean=True)) == "一 二\n三"
    assert texts(path, clean=True) == ["一 二", "三"]
