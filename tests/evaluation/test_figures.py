from __future__ import annotations

import math

import pytest

from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import (
    HeldOut,
    distinct,
    echo,
    entropy,
    is_dull,
    perplexity,
    perplexity_per_character,
    repetition,
)


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices() -> None:
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(0) == 1
    assert perplexity(1e6) == math.inf


def test_perplexity_per_character_spreads_the_loss_over_the_text() -> None:
    """Twelve tokens of log 4 each that spell 24 characters: a choice between two at every character."""
    assert perplexity_per_character(12 * math.log(4), 24) == pytest.approx(2)


def test_held_out_figures_come_from_three_sums() -> None:
    held_out = HeldOut.of(nll_sum=30.0, tokens=10, characters=15)
    assert held_out == HeldOut(3.0, 10, 15, pytest.approx(math.exp(3)), pytest.approx(math.exp(2)))


@pytest.mark.parametrize(("tokens", "characters"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_held_out_is_an_error(tokens: int, characters: int) -> None:
    with pytest.raises(ConfigError, match="nothing can be evaluated"):
        HeldOut.of(1.0, tokens, characters)


def test_distinct_counts_ngrams_over_all_replies() -> None:
    assert distinct(["你好", "你好"]) == 0.5
    assert distinct(["哈哈哈哈"]) == pytest.approx(1 / 3)
    assert distinct(["你好吗", "好吗"], n=1) == pytest.approx(3 / 5)
    assert distinct(["我"]) == distinct([]) == distinct([""]) == 0


def test_repetition_counts_replies_that_say_something_twice() -> None:
    assert repetition(["今天天气好今天天气好", "今天天气好"]) == 0.5
    assert repetition(["哈哈哈哈", "哈哈哈哈哈"]) == 0.5
    assert repetition(["好", ""]) == repetition([]) == 0
    assert repetition(["好的好的"], n=2) == 1


def test_entropy_is_that_of_the_ngrams() -> None:
    """Four 1-grams of two kinds, half and half: log 2; three of one and one of another by hand."""
    assert entropy(["哈嘿", "嘿哈"], 1) == pytest.approx(math.log(2))
    assert entropy(["aaab"], 1) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert entropy(["今天天气", "今天天气"]) == 0
    assert entropy(["今天天气", "明天天气"]) == pytest.approx(math.log(2))
    assert entropy(["短"]) == entropy([]) == 0


@pytest.mark.parametrize("reply", ["嗯", "我不知道。", "哈哈哈哈", "是的呀！", "", "。。。", "真的吗？"])
def test_a_reply_that_fits_anything_is_dull(reply: str) -> None:
    assert is_dull(reply)


@pytest.mark.parametrize("reply", ["我在北京吃烤鸭", "不知道几点的车", "嗯，明天去爬山"])
def test_a_reply_that_says_something_is_not_dull(reply: str) -> None:
    assert not is_dull(reply)


def test_echo_is_the_share_of_bigrams_that_the_user_said() -> None:
    """Of 你吃, 吃饭, 饭了 the message has the last two."""
    assert echo("吃饭了", "你吃饭了") == pytest.approx(2 / 3)
    assert echo("今天天气好", "今天天气好") == 1
    assert echo("好", "好") == 1
    assert echo("你好", "再见") == echo("你好", "") == 0
