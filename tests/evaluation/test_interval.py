from __future__ import annotations

import math

import numpy as np
import pytest

from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import bleu, distinct, jackknife, mean, ratio


def test_a_ratio_is_that_of_the_sums_not_the_mean_of_ratios() -> None:
    """(1 + 8) / (1 + 2) = 3, and not (1 + 4) / 2."""
    figure = ratio([1.0, 8.0], [1, 2])
    assert figure.value == 3
    assert (figure.low, figure.high) == (1, 4)  # only the first drawn twice, only the second


def test_equal_parts_leave_no_doubt() -> None:
    figure = ratio([2.0] * 5, [1] * 5, math.exp)
    assert figure.value == figure.low == figure.high == pytest.approx(math.exp(2))


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """300 samples of 40 exponential numbers of mean 1: the bootstrap should hold it in some 95 % of them."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        figure = mean(rng.exponential(size=40), resamples=300)
        assert figure.low is not None and figure.high is not None
        held += figure.low <= 1 <= figure.high
    assert 0.88 <= held / 300 <= 0.98


def test_the_same_seed_gives_the_same_interval() -> None:
    numbers = np.arange(20.0)
    assert mean(numbers, seed=3) == mean(numbers, seed=3) != mean(numbers, seed=4)


def test_one_dialogue_alone_has_no_interval() -> None:
    assert ratio([3.0], [2]).low is None
    assert jackknife(["好"], distinct).low is None


def test_nothing_to_predict_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing can be evaluated"):
        ratio([], [])


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """For a mean, deleting one at a time gives exactly s / sqrt(n): here 1.2910 / 2."""
    figure = jackknife([1.0, 2.0, 3.0, 4.0], lambda some: sum(some) / len(some))
    error = np.std([1, 2, 3, 4], ddof=1) / 2
    assert figure.value == 2.5
    assert figure.high == pytest.approx(2.5 + 1.959964 * error)
    assert figure.low == pytest.approx(2.5 - 1.959964 * error)


def test_bleu_of_what_people_said_is_100_and_by_hand_for_one_change() -> None:
    """今天天气好 against 今天天气冷: 4 of 5 characters, 3 of 4 bigrams: sqrt(0.8 · 0.75) = 0.7746."""
    assert bleu(["今天天气好"], ["今天天气好"], 4).value == pytest.approx(100)
    assert bleu(["今天天气好"], ["今天天气冷"], 2).value == pytest.approx(77.4597, abs=1e-3)


def test_bleu_has_an_interval_when_there_are_several() -> None:
    figure = bleu(["今天天气好", "我在家里呢"], ["今天天气冷", "我在家里啊"], 2)
    assert figure.low is not None and figure.high is not None
    assert figure.low <= figure.value <= figure.high
