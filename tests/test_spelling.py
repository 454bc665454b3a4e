from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt2.codec import Codec
from chatgpt2.spelling import Decoder, piece_of
from chatgpt2.vocabulary import default_vocabulary

CODEC = Codec(default_vocabulary())


def round_trip(text: str) -> str:
    ids, _ = CODEC.encode_texts([text])
    return CODEC.decode(ids.tolist())


@pytest.mark.parametrize(
    "text",
    [
        "你好，世界！",
        "今天3.5元，涨了30%。",
        "我用iPhone 15，好用吗？",
        "哈哈哈😂😂ok",
        "《西游记》里的“猴子”……",
        "don't worry, I'm fine!",
        "don’t stop",
        "he'll go; we'd stay",
        "O'Brien",
        "rock'n'roll",
        "dogs' tails",
        "3.14",
        "1,000,000",
        "12:30",
        "2024-01-02",
        "24/7",
        "1+1=2",
        "3~5 days",
        "20%~30%",
        "看http://t.cn/RxYz 看看",
        "是www.example.com，看看",
        "30% off",
        "costs $5 now",
        "Wi-Fi",
        "GPT-2",
        "C++",
        "AT&T",
        "v2.0.1",
        "U.S. army",
        "e.g. this",
        "wait... what",
        "Hello. How are you?",
        "Yes! No? OK; fine: good",
        'he said "yes" today',
        "he said, “yes” today",
        "f (x) and g [y] then",
        "me@x.com",
        "www.example.com/a?b=1&c=2 is up",
        "see https://t.cn/Abc then",
        "file.txt",
        "T_T^_^>_<",
        "#tag",
        "Привет мир",
    ],
)
def test_text_comes_back_as_it_was_written(text: str) -> None:
    entries = [*default_vocabulary(), *dict.fromkeys(c for char in "Приветм" for c in (char, f"##{char}"))]
    codec = Codec(entries)
    ids, _ = codec.encode_texts([text])
    assert codec.unk_id not in ids
    assert codec.decode(ids.tolist()) == text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("我 爱 你", "我爱你"),
        ("好 , ok", "好,ok"),
        ("你好 😂 ok", "你好😂ok"),
        ("hello(你好)", "hello (你好)"),
        ("他说hello(你好)", "他说hello(你好)"),
        ("  a  b ", "a b"),
    ],
)
def test_spaces_where_they_belong(written: str, read: str) -> None:
    assert round_trip(written) == read


def pieces(*entries: str) -> list[str]:
    """What comes out after each entry, and at the end."""
    decoder = Decoder([piece_of(entry) for entry in entries])
    return [*(decoder.push([i]) for i in range(len(entries))), decoder.finish()]


def test_a_word_is_written_when_it_cannot_grow() -> None:
    parts = pieces("你", "chat", "##gp", "##t", "好", "3", "##0", "%", "ok")
    assert parts == ["你", "", "", "", "chatgpt好", "", "", "30%", "", " ok"]


def test_pieces_that_begin_in_the_middle_of_a_word() -> None:
    assert pieces("##gpt", "ok") == ["gpt", "", " ok"]
    assert pieces("你", "##好", "##a", "好") == ["你", "好", "a", "好", ""]
    assert pieces("##") == ["##", ""]


def test_hangul_is_put_together_again() -> None:
    assert pieces("ᄒ", "##ᅡ", "##ᆫ", "국") == ["", "", "", "한", " 국"]


def test_special_tokens_are_passed_over() -> None:
    tokens = ["[CLS]", "你", "[SEP]", "ok", "[PAD]", "go", "[UNK]", "[unused1]", "[SEP]"]
    assert CODEC.decode([CODEC.vocabulary.index(token) for token in tokens]) == "你ok go"


@settings(deadline=None)
@given(st.lists(st.integers(0, len(CODEC.vocabulary) - 1), max_size=60))
def test_parts_are_whole_and_add_up(ids: list[int]) -> None:
    parts = list(CODEC.text(ids))
    text = CODEC.decode(ids)
    assert "".join(parts) == text
    decoder = CODEC.decoder()
    assert decoder.push(ids[:7]) + decoder.push(ids[7:]) + decoder.finish() == text
    assert "\ufffd" not in text and "##" not in text.replace("#", "", text.count("#")) and "  " not in text
    for prefix in (ids[: len(ids) // 2], ids[:-1]):  # what has been written is never taken back
        known = list(CODEC.text(prefix))
        assert text.startswith("".join(known[:-1]))
