from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from chatgpt2.corpus import open_corpus_file, read_corpus
from chatgpt2.corpus.source import SAMPLE_BYTES, open_source
from chatgpt2.errors import CorpusError

CHAT = "你好\n你好呀，hello\n\n吃了吗？\n吃过了\n"
SAID = [[("user", "你好"), ("bot", "你好呀，hello")], [("user", "吃了吗？"), ("bot", "吃过了")]]


@pytest.mark.parametrize(
    ("codec", "mark", "named"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8-sig", b"", "utf-8-sig"),
        ("utf-16", b"", "utf-16-le"),
        ("utf-16-be", b"\xfe\xff", "utf-16-be"),
        ("utf-16-le", b"", "utf-16-le"),
        ("utf-16-be", b"", "utf-16-be"),
        ("gb18030", b"", "gb18030"),
        ("gbk", b"", "gb18030"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_encodings(read: Any, tmp_path: Path, codec: str, mark: bytes, named: str, packed: bool) -> None:
    data = mark + CHAT.replace("\n", "\r\n").encode(codec)
    assert read(gzip.compress(data) if packed else data) == SAID
    assert open_source(tmp_path / "chat.txt").encoding == named


def test_json_and_csv_in_other_encodings(read: Any) -> None:
    assert read('[["你好", "你好呀，hello"],\n["吃了吗？", "吃过了"]]'.encode("utf-16")) == SAID
    assert read("question,answer\n你好,你好呀，hello\n吃了吗？,吃过了\n".encode("utf-8-sig"), "t.csv") == SAID
    assert read("question,answer\n你好,你好呀，hello\n吃了吗？,吃过了\n".encode("gb18030"), "t.csv") == SAID


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_the_first_chinese_character_may_come_late(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "late.txt"
    path.write_bytes(b"hello\nhi\n\n" * (SAMPLE_BYTES // 5) + CHAT.encode(codec))
    assert open_source(path).encoding == codec
    *_, last = read_corpus(path)
    assert [turn.text for turn in last.turns] == ["吃了吗？", "吃过了"]


def test_short_texts_are_not_taken_for_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    for text in ("联通", "你好\n", "嗯", "😀", "\n\n好"):
        path.write_text(text, encoding="utf-8")
        assert open_source(path).encoding == "utf-8"
    for text in ("你好\n在吗\n", "嗯嗯\n好的呢\n"):
        path.write_text(text, encoding="gb18030")
        assert open_source(path).encoding == "gb18030"


@pytest.mark.parametrize(
    ("codec", "wrong"), [("utf-8", b"\xff"), ("utf-8", b"\xe4\xbd"), ("gb18030", b"\xff\xff")]
)
def test_an_undecodable_byte_is_named_by_its_line(
    read: Any, complaints: Any, codec: str, wrong: bytes
) -> None:
    data = (
        CHAT.encode(codec) * 5 + "\n坏".encode(codec) + wrong + "\n坏\n\n".encode(codec) + CHAT.encode(codec)
    )
    with pytest.raises(CorpusError, match=f"line 27: has a byte that is not {codec}"):
        read(data)
    ((line, problem),) = complaints(data)
    assert line == 27
    assert codec in problem


def test_a_text_cut_off_inside_a_character(read: Any) -> None:
    with pytest.raises(CorpusError, match=r"line 5: has a byte that is not utf-8"):
        read(CHAT.encode()[:-2])


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 4, b"PK\x03\x04\0\0\0\0" * 9, b"\x89PNG\r\n\x1a\n\0\0\0"]
)
def test_what_is_not_text_is_refused(read: Any, data: bytes) -> None:
    with pytest.raises(CorpusError, match=r"chat\.txt: is not text"):
        read(data)


def test_a_damaged_gzip_file(read: Any) -> None:
    packed = gzip.compress(CHAT.encode() * 100)
    with pytest.raises(CorpusError, match="damaged gzip"):
        read(packed[: len(packed) // 2], "chat.txt.gz")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file or folder"):
        read_corpus(tmp_path / "nothing.txt")


def test_the_suffix_does_not_decide(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text(CHAT, encoding="utf-8")
    assert open_corpus_file(path).format == "text"
    path = tmp_path / "chat.csv"
    path.write_text('["你好", "你好呀"]\n', encoding="utf-8")
    assert open_corpus_file(path).format == "jsonl"


def test_a_stray_zero_byte_does_not_make_a_text_binary(read: Any) -> None:
    for codec in ("utf-8", "gb18030"):
        content = f"{CHAT}\n".encode(codec) * 10
        eaten = "吃过".encode(codec)
        assert read(content.replace(eaten, eaten + b"\0", 1))[:2] == SAID
    assert read(b"hello\nhi\0, how are you? nice to see you again\n")[0][1][1].startswith("hi, how")
