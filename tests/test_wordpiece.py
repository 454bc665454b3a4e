"""The fast tokenizer against the real one. What they must agree on is everything."""

from __future__ import annotations

import os
import random
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece as Model

from chatgpt2.vocabulary import SPECIAL, default_vocabulary, load_vocabulary
from chatgpt2.wordpiece import RUNS_KEPT, WordPiece, is_marker

# Small, with pieces that overlap and characters of every kind the table tells apart.
SYNTHETIC = [
    *SPECIAL,
    "[unused1]",
    *"abcxyz019你好,.!'-“☆👍の가é=`",
    *("##" + char for char in "abcxyz01の\u0301"),
    *("ab", "abc", "##bc", "##cab", "##ab", "sep", "##99", "好人", "\u2028", "cafe"),
    *("σ", "##σ", "##ς", "ᄒ", "##ᅡ", "##ᆫ"),
]
CASES = [
    "",
    " ",
    "你好，世界",
    "don't stop: 3.14%",
    "[SEP] [CLS][unused1] [PAD]",
    "a\u0301b\u0327c 好\u0301好",
    "x\u200by \ufffdz\0 a\u00adb",
    "İSTANBUL ΣΑΣ ǅ ß ﬁ",
    "☆☆ab☆ 👍🏻👍x 1️⃣",
    "한국어 カナ ヴ ＡＢＣ１２３",
    "a" * 100 + " " + "a" * 101,
    "…—“”‘’～·",
    "\ud800a\udfff",
    "a\u1fefb \u037e \u2260x \u302e\u1d165",
    "\u2028\u2029\x85\xa0\u3000",
    "\U0002f800\uf900x",
]


@cache
def vocabulary(name: str) -> list[str]:
    return default_vocabulary() if name == "default" else SYNTHETIC


@cache
def fast(name: str, lowercase: bool) -> WordPiece:
    return WordPiece(vocabulary(name), lowercase)


@cache
def real(name: str, lowercase: bool) -> Tokenizer:
    """What BertTokenizerFast(split_special_tokens=True) runs; that it is the same has a test of its own."""
    return bert(vocabulary(name), lowercase)


def bert(entries: list[str], lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(Model({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def without_surrogates(text: str) -> str:
    return "".join(char for char in text if not 0xD800 <= ord(char) < 0xE000)


def split(ids: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, offsets[1:-1])] if len(offsets) > 1 else []


def expected(tokenizer: Tokenizer, wordpiece: WordPiece, texts: list[str]) -> list[list[int]]:
    mapped = [without_surrogates(text.translate(wordpiece.mapping)) for text in texts]
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in mapped]


wild = st.text(st.characters() | st.sampled_from("ab 你好,.'☆👍\u0301\u200b\ufe0fΣσÅé가の[]"), max_size=40)
pieces = st.lists(st.sampled_from([*SYNTHETIC, "☆", " ", "\u0301", "Ａ", "…", "\u200b", "Σ"]), max_size=25)


@settings(deadline=None, max_examples=300)
@given(
    texts=st.lists(
        wild | pieces.map(lambda entries: "".join(e.removeprefix("##") for e in entries)), max_size=6
    ),
    name=st.sampled_from(["default", "synthetic"]),
    lowercase=st.booleans(),
)
@example(CASES, "default", False)
@example(CASES, "default", True)
@example(CASES, "synthetic", False)
@example(CASES, "synthetic", True)
def test_ids_equal_the_real_tokenizers(texts: list[str], name: str, lowercase: bool) -> None:
    wordpiece = fast(name, lowercase)
    assert split(*wordpiece.encode(texts)) == expected(real(name, lowercase), wordpiece, texts)


@settings(deadline=None, max_examples=50)
@given(entries=st.lists(wild.map(lambda t: t.strip()[:4]), max_size=30), texts=st.lists(wild, max_size=5))
@pytest.mark.parametrize("lowercase", [False, True])
def test_any_vocabulary_gives_the_real_ids(lowercase: bool, entries: list[str], texts: list[str]) -> None:
    inner = [f"##{entry}" for entry in entries]
    entries = list(dict.fromkeys([*SPECIAL, *filter(None, map(without_surrogates, [*entries, *inner]))]))
    wordpiece = WordPiece(entries, lowercase)
    assert split(*wordpiece.encode(texts)) == expected(bert(entries, lowercase), wordpiece, texts)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("name", ["default", "synthetic"])
def test_the_real_tokenizer_is_transformers_one(name: str, lowercase: bool) -> None:
    from transformers import BertTokenizerFast

    entries = {entry: i for i, entry in enumerate(vocabulary(name))}
    tokenizer = BertTokenizerFast(vocab=entries, do_lower_case=lowercase, split_special_tokens=True)
    assert len(tokenizer) == len(entries)
    texts = [without_surrogates(text) for text in CASES]
    ours = [real(name, lowercase).encode(text, add_special_tokens=False).ids for text in texts]
    assert [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts] == ours


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [False, True])
def test_every_code_point_of_the_first_planes(lowercase: bool) -> None:
    wordpiece, tokenizer = fast("synthetic", lowercase), real("synthetic", lowercase)
    points = [*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200), 0x2FA1D, sys.maxunicode]
    texts = [f"ab{chr(point)}c{chr(point)}{chr(point)}你{chr(point)}" for point in points]
    for start in range(0, len(texts), 10_000):
        chunk = texts[start : start + 10_000]
        assert split(*wordpiece.encode(chunk)) == expected(tokenizer, wordpiece, chunk)


@pytest.mark.parametrize("vocab", ["bert_base_chinese_21128.txt", "chitchat_13317.txt"])
def test_real_dialogues(vocab: str) -> None:
    if "CHATGPT2_DATA" not in os.environ:
        pytest.skip("CHATGPT2_DATA is not set")
    from chatgpt2.corpus import read_corpus

    data = Path(os.environ["CHATGPT2_DATA"])
    texts = [turn.text for dialogue in read_corpus(data / "dialogues") for turn in dialogue.turns]
    entries = load_vocabulary(data / "vocab" / vocab)
    for lowercase in (False, True):
        wordpiece = WordPiece(entries, lowercase)
        assert split(*wordpiece.encode(texts)) == expected(bert(entries, lowercase), wordpiece, texts)
        unwritten = wordpiece.unwritten(entries)
        assert not np.isin(unwritten, wordpiece.encode(texts)[0]).any()
        assert (len(unwritten) > 7322) == (vocab == "bert_base_chinese_21128.txt")


@settings(deadline=None)
@given(wild)
def test_the_mapping_touches_only_what_would_be_unknown(text: str) -> None:
    text = without_surrogates(text)
    for name in ("default", "synthetic"):
        plain = real(name, False).encode(text, add_special_tokens=False)
        if plain.ids and "[UNK]" not in plain.tokens:
            assert split(*fast(name, False).encode([text])) == [plain.ids]


def tokens(entries: list[str], text: str, lowercase: bool = False) -> list[str]:
    return [entries[i] for i in WordPiece(entries, lowercase).encode([text])[0]]


def test_mapping_to_what_the_vocabulary_has() -> None:
    entries = [*SPECIAL, *"\"'-.,!A1", "##A", "##1", "好"]
    assert tokens(entries, "“好”…—，！ＡＡ１") == [
        '"',
        "好",
        '"',
        ".",
        ".",
        ".",
        "-",
        ",",
        "!",
        "A",
        "##A",
        "##1",
    ]
    assert tokens([*entries, "…", "“"], "“好”…") == ["“", "好", '"', "…"]


def test_a_vocabulary_without_capitals_writes_them_small() -> None:
    entries = [*SPECIAL, "a", "b", "##b", "<S>"]
    assert tokens(entries, "AB ＡＢ Äb") == ["a", "##b", "a", "##b", "a", "##b"]
    assert tokens([*entries, "A", "##B"], "AB") == ["A", "##B"]


def test_accents_go_where_the_vocabulary_has_none() -> None:
    entries = [*SPECIAL, "e", "##e", "é"]
    assert tokens(entries, "é è Ễ eè") == ["é", "e", "e", "e", "##e"]


def test_mapping_leaves_alone_what_has_no_replacement() -> None:
    assert tokens([*SPECIAL, "好"], "“好") == ["[UNK]", "好"]


def test_emoji_without_inner_entries_stand_alone() -> None:
    entries = [*SPECIAL, "好", "a", "##a", "😂", "❤"]
    assert tokens(entries, "好😂😂a❤️👍") == ["好", "😂", "😂", "##a", "[UNK]"]
    assert tokens(entries, "a😂😂🏻 ❤️") == ["a", "😂", "😂", "❤"]


def test_typed_special_tokens_are_ordinary_characters() -> None:
    entries = [*SPECIAL, "[", "]", "S", "##EP", "[unused1]"]
    assert tokens(entries, "[SEP][unused1]") == ["[", "S", "##EP", "]", "[", "[UNK]", "]"]


def test_runs_are_forgotten_when_they_are_too_many_or_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.wordpiece.RUNS_KEPT", 50)
    assert RUNS_KEPT > 50
    wordpiece, tokenizer = WordPiece(SYNTHETIC, False), real("synthetic", False)
    generator = random.Random(1)
    for _ in range(10):
        texts = ["".join(generator.choices("abcxyz019 ", k=30)) for _ in range(10)] + ["a" * 5000]
        assert split(*wordpiece.encode(texts)) == expected(tokenizer, wordpiece, texts)
        assert all(len(run) <= 100 for run in wordpiece._runs)
    assert len(wordpiece._runs) <= 50 + 11 * 30


def test_recalled_texts_have_the_ids_that_they_were_given_and_are_forgotten_when_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatgpt2.wordpiece.IDS_KEPT", 200)
    wordpiece, generator = WordPiece(SYNTHETIC, False), random.Random(1)
    texts = ["".join(generator.choices("abcxyz019 ", k=30)) for _ in range(40)] + [""]
    for _ in range(20):
        asked = generator.choices(texts, k=6)
        assert wordpiece.recall(asked) == [wordpiece.encode([text])[0].tolist() for text in asked]
        assert sum(len(ids) + 1 for ids in wordpiece._recalled.values()) <= max(200, 6 * 31)
    assert wordpiece.recall([]) == []


@pytest.mark.parametrize("lowercase", [False, True])
def test_what_no_text_gives_is_what_is_never_inside_a_word(lowercase: bool) -> None:
    inner = ["b", "人", "!", "é", "B", "\u0301", "\u2028", "の", "好b", "ᅡ", "℃"]
    entries = [*SPECIAL, *"xaé好人!", *(f"##{text}" for text in inner)]
    wordpiece = WordPiece(entries, lowercase)
    found = {entries[i].removeprefix("##") for i in wordpiece.unwritten(entries)}
    never = {"人", "!", "\u2028", "好b"} | ({"é", "B", "\u0301"} if lowercase else set())
    assert found == never
    for text in inner:  # that "x" stands before it is all that the rule looks at
        ids, _ = WordPiece([*entries[:6], f"##{text}"], lowercase).encode([f"x{text}"])
        assert (6 in ids) == (text not in never)


def test_nothing_to_encode() -> None:
    ids, offsets = fast("default", False).encode([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    ids, offsets = fast("default", False).encode(["", "\u200b", ""])
    assert (ids.tolist(), offsets.tolist()) == ([], [0, 0, 0, 0])


@pytest.mark.parametrize("entry", ["[SEP]", "[unused12]", "<S>"])
def test_markers(entry: str) -> None:
    assert is_marker(entry)


@pytest.mark.parametrize("entry", ["[", "<", "SEP", "##[", "<>", "[]"])
def test_no_markers(entry: str) -> None:
    assert not is_marker(entry)
