from __future__ import annotations

from typing import Any

import pytest

PAIRS = [[("user", "你好"), ("bot", "你好呀")], [("user", "吃了吗,你"), ("bot", '他说"吃"了')]]
ROWS = '你好,你好呀\r\n"吃了吗,你","他说""吃""了"\r\n'


@pytest.mark.parametrize("header", ["", "question,answer\n", "\ufeff问题,答案\r\n", "Prompt,Response\n"])
def test_csv(read: Any, header: str) -> None:
    assert read(header + ROWS, "pairs.csv") == PAIRS


def test_csv_is_known_by_its_header_without_the_suffix(read: Any) -> None:
    assert read("question,answer\n" + ROWS, "pairs.txt") == PAIRS


def test_csv_without_header_and_suffix_needs_many_pairs(read: Any) -> None:
    content = "你好,你好呀\n" * 12
    assert read(content, "pairs.dat") == [PAIRS[0]] * 12
    assert len(read("你好,在吗\n在的,怎么了\n", "chat.txt")) == 1


def test_csv_columns_in_any_order_and_lines_inside_cells(read: Any) -> None:
    content = 'id,answer,source,question\n1,你好呀,网,"你\n好"\n2,在,网,在吗\n,,,\n'
    assert read(content, "pairs.csv") == [
        [("user", "你\n好"), ("bot", "你好呀")],
        [("user", "在吗"), ("bot", "在")],
    ]


def test_alpaca_as_csv(read: Any) -> None:
    content = "instruction,input,output\n翻译,早,morning\n你好,,你好呀\n"
    assert read(content, "pairs.csv") == [[("user", "翻译\n早"), ("bot", "morning")], PAIRS[0]]


@pytest.mark.parametrize("header", ["", "question\tanswer\n", "问\t答\r\n"])
@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.txt", "pairs.csv"])
def test_tsv(read: Any, header: str, name: str) -> None:
    assert read(header + "你好\t你好呀\r\n吃了吗,你\t他说吃了\n\n", name) == [
        PAIRS[0],
        [("user", "吃了吗,你"), ("bot", "他说吃了")],
    ]


def test_tsv_quotes_of_spreadsheets(read: Any) -> None:
    content = 'question\tanswer\n你好\t你好呀\n"吃了吗,你"\t"他说""吃""了"\n'
    assert read(content, "pairs.tsv") == PAIRS
    assert read('q\ta\n"你好\t"他"和"她"\n') == [[("user", '"你好'), ("bot", '"他"和"她"')]]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_table_without_question_and_answer_is_refused(complaints: Any, name: str) -> None:
    content = "label,text_a\n1,很好的酒店\n0,不好的酒店\n1,好\n".replace(
        ",", "\t" if name == "t.tsv" else ","
    )
    ((line, problem),) = complaints(content, name)
    assert line == 1
    assert problem.endswith("found label, text_a")


def test_english_words_before_a_chinese_pair_are_a_pair(read: Any) -> None:
    assert read("hi\thello\n你好\t你好呀\n") == [[("user", "hi"), ("bot", "hello")], PAIRS[0]]


def test_rows_with_a_missing_or_an_extra_cell(complaints: Any) -> None:
    assert complaints("question,answer\n你好,你好呀\n在吗\n好,好\n", "t.csv") == [
        (3, "expected a question and its answer, found 1 column(s)")
    ]
    assert [line for line, _ in complaints("你好,你好呀\n在,吗,啊\n好,好\n", "t.csv")] == [2]


def test_a_quote_that_never_closes_is_a_bad_record(complaints: Any) -> None:
    content = 'question,answer\n你好,你好呀\n"在吗,在\n' + f"{'哦' * 400},嗯\n" * 4_000
    assert complaints(content, "t.csv")[0][0] == 3
