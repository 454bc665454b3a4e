"""Text up to a stop string, however it is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatgpt2.generating import Stops

LETTERS = st.text("abc", max_size=12)


@given(st.lists(LETTERS, max_size=6), st.lists(LETTERS, max_size=3))
def test_text_is_shown_up_to_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    reading, text = Stops(stops), "".join(pieces)
    shown = "".join(reading.push(piece) for piece in pieces) + reading.push("", last=True)
    found = [(place + len(stop), place) for stop in stops if stop and (place := text.find(stop)) >= 0]
    assert shown == (text[: min(found)[1]] if found else text)
    assert reading.hit == bool(found)


def test_only_what_may_begin_a_stop_is_held_back() -> None:
    reading = Stops(["停止"])
    assert [reading.push(piece) for piece in ("好", "的停", "车", "停", "止了")] == [
        "好",
        "的",
        "停车",
        "",
        "",
    ]
