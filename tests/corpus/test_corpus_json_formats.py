from __future__ import annotations

import json
from typing import Any

import pytest

from chatgpt2.corpus import Tally

PAIR = [("user", "你好"), ("bot", "你好呀")]
MESSAGES = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好呀"}]

SHAPES: dict[str, object] = {
    "list of strings": ["你好", "你好呀"],
    "dialog": {"dialog": ["你好", "你好呀"]},
    "messages": {"messages": MESSAGES},
    "bare messages": MESSAGES,
    "parts": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "x"}},
                    {"type": "text", "text": "你好"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "value": "你好呀"}]},
        ]
    },
    "sharegpt": {
        "id": 1,
        "conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "你好呀"}],
    },
    "alpaca": {"instruction": "你好", "input": "", "output": "你好呀"},
    "human and assistant": {"conversation_id": 1, "conversation": [{"human": "你好", "assistant": "你好呀"}]},
    "prompt and response": {"prompt": "你好", "response": "你好呀"},
    "prompt and completion as messages": {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]},
    "Chinese roles": {
        "messages": [{"role": "用户", "content": "你好"}, {"role": "机器人", "content": "你好呀"}]
    },
    "messages without roles": {"messages": [{"message": "你好"}, {"message": "你好呀"}]},
    "characters": ["你 好", "你 好 呀"],
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", ["jsonl", "array", "pretty array", "one line each", "one object", "train"])
def test_shapes(read: Any, shape: str, layout: str) -> None:
    value = SHAPES[shape]
    one = json.dumps(value, ensure_ascii=False)
    content = {
        "jsonl": f"{one}\n\n{one}\r\n{json.dumps(value)}",
        "array": f"[{one},{one}, {one}]",
        "pretty array": json.dumps([value] * 3, ensure_ascii=False, indent=2),
        "one line each": f"[\n{one},\n{one},\n{one}\n]\n",
        "one object": "\n".join([json.dumps(value, ensure_ascii=False, indent=1)] * 3),
        "train": json.dumps({"train": [value, value], "valid": [value]}),
    }[layout]
    assert read(content, "corpus.txt") == [PAIR] * 3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_single_record_in_one_line(read: Any, shape: str) -> None:
    assert read(json.dumps(SHAPES[shape]) + "\n") == [PAIR]


def test_alpaca_with_history_input_and_system(read: Any) -> None:
    record = {
        "instruction": "翻译",
        "input": "早上好",
        "output": "good morning",
        "history": [["在吗", "在的"], ["忙吗", "不忙"]],
        "system": "你是翻译",
    }
    spoken = ["在吗", "在的", "忙吗", "不忙", "翻译\n早上好", "good morning"]
    assert read(json.dumps([record])) == [[(("user", "bot")[i % 2], text) for i, text in enumerate(spoken)]]


def test_system_text_is_dropped_and_counted_or_begins_the_users_turn(read: Any) -> None:
    content = json.dumps({"messages": [{"role": "system", "content": "你很有礼貌"}, *MESSAGES]})
    tally = Tally()
    assert read(content, tally=tally) == [PAIR]
    assert tally.system == 1
    assert read(content, keep_system=True) == [[("user", "你很有礼貌\n你好"), PAIR[1]]]


def test_messages_to_and_from_tools_are_dropped_and_counted(read: Any) -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "weather"}}]}
    answered = {"role": "tool", "content": "晴", "tool_call_id": "1"}
    tally = Tally()
    assert read(json.dumps({"messages": [MESSAGES[0], called, answered, MESSAGES[1]]}), tally=tally) == [PAIR]
    assert tally.tool == 1


def test_consecutive_turns_of_a_speaker_are_merged_and_counted(read: Any) -> None:
    tally = Tally()
    content = json.dumps({"messages": [MESSAGES[0], MESSAGES[0], MESSAGES[1]]})
    assert read(content, tally=tally) == [[("user", "你好\n你好"), PAIR[1]]]
    assert (tally.merged, tally.dialogues, tally.turns) == (1, 1, 2)


def test_a_dialogue_may_begin_with_the_bot(read: Any) -> None:
    content = json.dumps(
        {"conversations": [{"from": "gpt", "value": "欢迎"}, {"from": "human", "value": "你好"}]}
    )
    assert read(content) == [[("bot", "欢迎"), ("user", "你好")]]


def test_records_by_name_and_lists_of_lists(read: Any) -> None:
    assert read(json.dumps({"17": {"messages": MESSAGES}, "18": {"messages": MESSAGES}}, indent=1)) == [
        PAIR,
        PAIR,
    ]
    assert read(json.dumps({"conversations": [["你好", "你好呀"]] * 2}, indent=1)) == [PAIR, PAIR]


def test_empty_records_are_counted_and_left_out(read: Any) -> None:
    tally = Tally()
    assert read('[[], ["", " "], ["你好", "你好呀"]]', tally=tally) == [PAIR]
    assert tally.empty == 2
    assert read("[]", "nothing.json") == []


def test_lone_surrogates_and_invisible_characters(read: Any) -> None:
    assert read('["你\\ud83d好\\u0000\\u200b", "\\ud83d\\ude00"]') == [
        [("user", "你\ufffd好"), ("bot", "😀")]
    ]


def test_line_ends_inside_a_text_stay(read: Any) -> None:
    assert read('["一\\r\\n\\n二 \\n", "三"]') == [[("user", "一\n二"), ("bot", "三")]]


def test_a_record_larger_than_a_chunk(read: Any) -> None:
    long = "长" * 600_000
    assert read(json.dumps([[long, "好"], ["你好", "你好呀"]], ensure_ascii=False)) == [
        [("user", long), ("bot", "好")],
        PAIR,
    ]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ('{"text": "你好"}', "found text"),
        ('["你好", 5]', "turn 2: expected a text or an object with a role and a text, found a number"),
        (
            '{"messages": [{"role": "narrator", "content": "x"}]}',
            "turn 1: expected the role .* found 'narrator'",
        ),
        ('{"messages": [{"role": "user", "content": 5}]}', "turn 1: expected a text, found a number"),
        ('{"messages": [{"role": "user"}]}', "turn 1: expected a role and a text, found the keys role"),
        ("5", "found a number"),
        ("{}", "found an empty object"),
        ('{"dialog": ["你好"', "is not JSON"),
    ],
)
def test_bad_records_name_line_and_expectation(complaints: Any, record: str, problem: str) -> None:
    import re

    good = '["你好", "你好呀"]'
    ((line, found),) = complaints(f"{good}\n\n{good}\n{record}\n{good}\n", "c.jsonl")
    assert line == 4
    assert re.search(problem, found)


def test_bad_records_of_an_array_are_skipped_one_by_one(read: Any, complaints: Any) -> None:
    good = '{"instruction": "你好",\n "output": "你好呀"}'
    bad_syntax = '{"instruction": "你好",\n "output": "你好呀}'
    bad_shape = '{"text": "你好"}'
    content = f"[\n{good},\n{bad_syntax},\n{good},\n{bad_shape},\n{good}\n{good}\n]"
    lines = [line for line, _ in complaints(content, "c.json")]
    assert lines == [4, 8, 11]
    assert read(content, "c.json", on_bad=lambda error: None) == [PAIR] * 4


def test_an_array_cut_short(read: Any, complaints: Any) -> None:
    good = '["你好", "你好呀"]'
    ((line, problem),) = complaints(f"[\n{good},\n{good}", "c.json")
    assert (line, problem) == (3, "expected a comma or ], found the end of the file")
    assert [line for line, _ in complaints(f'[\n{good},\n["你好", "你', "c.json")] == [3, 3]
