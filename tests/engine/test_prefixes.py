from __future__ import annotations

import torch

from chatgpt2.engine.gpt2 import Saved
from chatgpt2.engine.prefixes import Prefixes, common_length


def saved(*ids: int) -> Saved:
    empty = torch.empty(0)
    return Saved(ids, empty, empty)


def test_the_longest_common_beginning_wins() -> None:
    prefixes = Prefixes(100)
    short, long = saved(1, 2, 9), saved(1, 2, 3, 4)
    prefixes.keep(short)
    prefixes.keep(long)
    assert prefixes.longest([1, 2, 3, 5]) == (long, 3)
    assert prefixes.longest([1, 2, 9]) == (short, 3)
    assert prefixes.longest([7]) == (None, 0)
    assert prefixes.longest([]) == (None, 0)


def test_a_continued_conversation_takes_the_place_of_its_beginning() -> None:
    prefixes = Prefixes(100)
    for entry in (saved(1, 2), saved(1, 2, 3), saved(1, 2, 3), saved(4)):
        prefixes.keep(entry)
    assert (len(prefixes), prefixes.tokens) == (2, 4)


def test_the_longest_unused_go_first_and_the_total_is_bounded() -> None:
    prefixes = Prefixes(6)
    prefixes.keep(saved(1, 1))
    prefixes.keep(saved(2, 2))
    prefixes.keep(saved(3, 3))
    prefixes.longest([1, 1])
    prefixes.keep(saved(4, 4))
    assert prefixes.longest([2, 2]) == (None, 0)
    assert prefixes.longest([1, 1])[1] == 2
    assert prefixes.tokens == 6


def test_what_is_too_long_is_not_wanted() -> None:
    assert Prefixes(6).wants(6)
    assert not Prefixes(6).wants(7)
    assert not Prefixes(6).wants(0)
    assert not Prefixes(0).wants(1)


def test_common_length() -> None:
    assert common_length([1, 2, 3], [1, 2, 4]) == 2
    assert common_length([1], [1, 2]) == 1
    assert common_length([], [1]) == 0
