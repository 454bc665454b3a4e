from __future__ import annotations

from typing import Any

import pytest

from chatgpt2.corpus.record import MAX_TURNS
from chatgpt2.errors import CorpusError

TWO = [
    [("user", "你好"), ("bot", "你好呀")],
    [("user", "吃了吗"), ("bot", "吃过了"), ("user", "好")],
]


@pytest.mark.parametrize(
    "content",
    [
        "你好\n你好呀\n\n吃了吗\n吃过了\n好\n",
        "你好\n你好呀\n\n吃了吗\n吃过了\n好",
        "你好\r\n你好呀\r\n\r\n吃了吗\r\n吃过了\r\n好\r\n",
        "\ufeff你好\n你好呀\n\n\n\n吃了吗\n吃过了\n好\n\n\n",
        "\n\n你好  \n  你好呀\t\n \t \n　\n吃了吗\n吃过了　\n好 \n \n",
        "你好\n你好呀\n\ufeff\n吃了吗\n吃过了\n\ufeff好\n\u200b\n",
    ],
    ids=["plain", "no last line end", "CRLF", "BOM and blank lines", "spaces", "invisible lines"],
)
def test_utterance_per_line(read: Any, content: str) -> None:
    assert read(content) == TWO


def test_other_separators_inside_a_line_do_not_end_it(read: Any) -> None:
    assert read("你好\u2028在吗\x0b\x85啊\n在\x1c的\n") == [[("user", "你好 在吗 啊"), ("bot", "在 的")]]


def test_a_chat_line_that_begins_like_json_stays_a_chat_line(read: Any) -> None:
    texts = ["[微笑]你好", "{笑}在呢", "[1]", "[]", '{"a', "[[泪]]"]
    assert read("\n".join(texts)) == [[(("user", "bot")[i % 2], text) for i, text in enumerate(texts)]]


def test_one_single_line_is_a_dialogue_of_one_turn(read: Any) -> None:
    assert read("你好\n") == [[("user", "你好")]]


def test_an_endless_dialogue_is_a_bad_record(complaints: Any) -> None:
    content = "你好\n在\n\n" + "一句话\n" * (MAX_TURNS + 5) + "\n又\n见\n"
    ((line, problem),) = complaints(content)
    assert line == 4
    assert "blank lines" in problem


def test_tab_separated_turns(read: Any) -> None:
    assert read("你好\t你好呀\r\n吃了吗\t吃过了\t好\t\t\n\n") == TWO


def test_an_empty_turn_between_tabs_leaves_the_speakers_as_they_are(read: Any) -> None:
    assert read("你好\t你好呀\n在吗\t \t睡了吗\t还没\n") == [
        TWO[0],
        [("user", "在吗\n睡了吗"), ("bot", "还没")],
    ]


def test_conv(read: Any) -> None:
    assert read("E\nM 你好\nM 你好呀\nE\nM 吃了吗\nM 吃过了\nM 好\nM \nM\n") == TWO


def test_conv_with_words_split_by_slashes(read: Any) -> None:
    content = "E\nM 今天/天气/很/好\nM 是/啊/，/hello/world/！\nE\nM 你/真/好/看\nM 谢谢\n"
    assert read(content) == [
        [("user", "今天天气很好"), ("bot", "是啊，hello world！")],
        [("user", "你真好看"), ("bot", "谢谢")],
    ]


def test_conv_keeps_slashes_that_somebody_wrote(read: Any) -> None:
    content = "E\nM 你是男/女？\nM 我是机器人\nE\nM 几点开门\nM 八点开门\n"
    assert read(content)[0][0] == ("user", "你是男/女？")


def test_conv_names_a_strange_line(read: Any, complaints: Any) -> None:
    content = "E\nM 你好\nX 在吗\nM 你好呀\n"
    assert complaints(content, format="conv") == [(3, "expected `E` alone or `M ` and a text")]
    with pytest.raises(CorpusError, match=r"chat\.txt, line 3: expected `E`"):
        read(content, format="conv")
