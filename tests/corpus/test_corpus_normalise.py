from __future__ import annotations

import pytest

from chatgpt2.corpus.normalise import clean, join_slashed, join_spaced, looks_slashed, looks_spaced


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("你好", "你好"),
        ("  你好  啊\t吧 ", "你好 啊 吧"),
        ("你\u3000好\u00a0啊", "你 好 啊"),
        ("\ufeff\u200b", ""),
        ("\u200d\ufe0f", ""),
        ("👨\u200d👩\u200d👧❤️", "👨\u200d👩\u200d👧❤️"),
        ("a\r\nb\rc\n\nd", "a\nb\nc\nd"),
        ("你\x00好\x07", "你好"),
        ("\ue412", "\ue412"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("我 爱 你 ！", "我爱你！"),
        ("伤 心 p l u s", "伤心plus"),
        ("花 了 3 1 万", "花了31万"),
        ("我 说 hello world", "我说hello world"),
        ("i phone 7 很 好", "i phone 7很好"),
        ("我 爱 python 3 ， 真 的", "我爱python 3，真的"),
        ("hello , world", "hello, world"),
        ("你好 在吗", "你好 在吗"),
        ("好", "好"),
        ("o k", "ok"),
    ],
)
def test_join_spaced(text: str, joined: str) -> None:
    assert join_spaced(text) == joined


def test_what_counts_as_split() -> None:
    assert looks_spaced(["我 爱 你", "好", "伤 心 p l u s"])
    assert not looks_spaced(["你好 在吗", "嗯 好", "没事的"])
    assert not looks_spaced(["hello world", "hi"])
    assert not looks_spaced([])
    assert looks_slashed(["今天/天气/好", "是/啊/！！"])
    assert not looks_slashed(["你是男/女？", "我是机器人", "几点开门呀"])
    assert not looks_slashed([])


def test_join_slashed() -> None:
    assert join_slashed("今天/hello/world/好") == "今天hello world好"
    assert join_slashed("/") == "/"
