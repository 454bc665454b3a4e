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
    assert BlockedWords([]).held("敏感词") == 0


@pytest.mark.parametrize(
    ("text", "held"),
    [("", 0), ("他说", 0), ("他说敏", 1), ("他说敏 感-", 4), ("an as", 2), ("class", 3), ("感词", 0)],
)
def test_what_may_become_a_word_is_held(text: str, held: int) -> None:
    assert WORDS.held(text) == held


def test_whether_a_latin_word_is_over_the_next_letter_tells() -> None:
    assert not WORDS.hit("you ass", more=True)
    assert not WORDS.hit("you assist", more=True)
    assert WORDS.hit("you ass i", more=True)
    assert WORDS.hit("敏感词", more=True)


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
