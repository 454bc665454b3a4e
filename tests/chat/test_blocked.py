from __future__ import annotations

from pathlib import Path

import pytest

from chatgpt2.chat import BlockedWords
from chatgpt2.errors import ConfigError

WORDS = BlockedWords(["敏感词", "赌博", "Ass", "ＶＸ号", "42"])


@pytest.mark.parametrize(
    "text",
    [
        "这是敏感词。",
        "敏 感-词",
        "敏\n感词",
        "赌。博",
        "you ASS!",
        "ａｓｓ",
        "加vx号",
        "加 V X 号",
        "答案是42",
    ],
)
def test_a_word_is_found_however_it_is_written(text: str) -> None:
    assert WORDS.hit(text)


@pytest.mark.parametrize("text", ["", "敏感", "感词敏", "class", "assess", "bass", "425", "1428", "赌一博"])
def test_what_only_looks_like_it_is_not_found(text: str) -> None:
    assert not WORDS.hit(text)


def test_no_words_hit_nothing() -> None:
    assert not BlockedWords([]).hit("敏感词")


def test_a_list_is_read(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeff# 说明\n敏感词\n\n  赌博  \n".encode())
    words = BlockedWords.read(file)
    assert len(words) == 2
    assert words.hit("赌博")
    assert not words.hit("说明")


def test_a_list_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    with pytest.raises(ConfigError, match="cannot be read"):
        BlockedWords.read(file)
    file.write_bytes("敏感词".encode("gbk"))
    with pytest.raises(ConfigError, match="save the list of blocked words as UTF-8"):
        BlockedWords.read(file)
    file.write_text("好词\n！！\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'！！' has no letter"):
        BlockedWords.read(file)
