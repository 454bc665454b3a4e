from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgpt2.adapter import Limits, length
from chatgpt2.gateway.splitting import CUT_SHORT, fit, split

FAMILY = "👨‍👩‍👧‍👦"


def test_platforms_boundaries_are_met_exactly() -> None:
    assert [len(piece) for piece in split("😀" * 2048, Limits(4096, "utf16"))] == [2048]
    assert [len(piece) for piece in split("😀" * 2049, Limits(4096, "utf16"))] == [2048, 1]
    assert [len(piece) for piece in split("汉" * 682, Limits(2047, "utf8"))] == [682]
    assert [len(piece) for piece in split("汉" * 683, Limits(2047, "utf8"))] == [682, 1]


def test_paragraphs_come_first_then_sentences_then_graphemes() -> None:
    text = "第一段在这里说完了。\n第二段有点长，有两句。这是第二句话！\n" + "长" * 20
    assert split(text, Limits(16)) == [
        "第一段在这里说完了。",
        "第二段有点长，有两句。",
        "这是第二句话！",
        "长" * 16,
        "长" * 4,
    ]
    assert split(FAMILY * 5, Limits(16)) == [FAMILY * 2, FAMILY * 2, FAMILY]
    assert split("他说：“走吧。”然后就走了，没再回头看。", Limits(16)) == [
        "他说：“走吧。”",
        "然后就走了，没再回头看。",
    ]


def test_more_than_may_be_sent_is_cut_short_and_said() -> None:
    pieces = split("一二三四五六七八九十一二三四五六七八九。" * 9, Limits(40, sends_per_inbound=2))
    assert len(pieces) == 2 and pieces[1].endswith(CUT_SHORT) and len(pieces[1]) <= 40


@given(st.text(max_size=200), st.integers(16, 60), st.sampled_from(["chars", "utf16", "utf8"]))
def test_nothing_but_space_is_lost_and_nothing_is_too_long(text: str, most: int, unit: str) -> None:
    limits = Limits(most, unit)  # type: ignore[arg-type]
    pieces = split(text, limits)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < length(piece, limits.unit) <= most for piece in pieces)
    assert length(fit(text, limits), limits.unit) <= most


@pytest.mark.parametrize("text", ["", "  \n "])
def test_nothing_makes_no_pieces(text: str) -> None:
    assert split(text, Limits(16)) == [] and fit(text, Limits(16)) in ("", text)
