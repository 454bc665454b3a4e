"""The arithmetic of sampling equals that of transformers, row by row."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from chatgpt2.engine.base import SamplingParams
from chatgpt2.engine.sampling import Columns, completes_ngram, draw, forbid, nucleus, penalise, sample
from chatgpt2.errors import EngineError

VOCABULARY = 50
CPU = torch.device("cpu")


def logits(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 4


def columns(*params: SamplingParams) -> Columns:
    return Columns.of(params, VOCABULARY, CPU)


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.1, 3.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    scores = logits(4)
    seen = torch.randint(0, VOCABULARY, (4, 30), generator=torch.Generator().manual_seed(1))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(seen, scores.clone())
    torch.testing.assert_close(penalise(scores, seen, torch.full((4, 1), penalty)), expected, rtol=0, atol=0)


def test_the_repetition_penalty_makes_negative_logits_smaller() -> None:
    scores = torch.tensor([[2.0, -2.0, 1.0]])
    penalised = penalise(scores, torch.tensor([[0, 1, 1]]), torch.tensor([[2.0]]))
    assert penalised.tolist() == [[1.0, -4.0, 1.0]]


def probabilities(params: SamplingParams, scores: Tensor) -> Tensor:
    """What `sample` draws from, in the order of the vocabulary [rows, vocabulary]."""
    width = min(params.top_k or VOCABULARY, VOCABULARY)
    values, ids = scores.topk(width)
    column = columns(params)
    kept = nucleus((values / column.temperature).softmax(-1), column.top_p)
    return torch.zeros_like(scores).scatter(1, ids, kept / kept.sum(-1, keepdim=True))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 7, 500])
@pytest.mark.parametrize("top_p", [0.001, 0.3, 0.95, 1.0])
def test_temperature_top_k_and_top_p_are_those_of_transformers(
    temperature: float, top_k: int, top_p: float
) -> None:
    scores = logits(16)
    scores[:, :3] = -torch.inf
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    expected = warpers(torch.zeros(16, 1, dtype=torch.long), scores.clone()).softmax(-1)
    got = probabilities(SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p), scores)
    assert torch.equal(got > 0, expected > 0)
    torch.testing.assert_close(got, expected)


@given(st.lists(st.integers(0, 3), max_size=25), st.integers(1, 4))
@settings(deadline=None)
def test_no_repeat_ngram_forbids_what_transformers_forbids(reply: list[int], n: int) -> None:
    expected = NoRepeatNGramLogitsProcessor(n)(torch.tensor([reply]).long(), torch.zeros(1, 4))
    forbidden = torch.zeros(4)
    forbidden[completes_ngram(reply, n)] = -torch.inf
    assert forbidden.tolist() == expected[0].tolist()


def test_forbid_leaves_something_to_choose_from() -> None:
    scores = torch.tensor([1.0, 3.0, -torch.inf, 2.0])
    forbid(scores, [1])
    assert scores.tolist() == [1.0, -math.inf, -math.inf, 2.0]
    forbid(scores, [0, 1, 3])
    assert scores.tolist() == [1.0, -math.inf, -math.inf, 2.0]


def test_each_row_is_sampled_by_its_own_parameters() -> None:
    """A mixed batch gives every row what it gets alone."""
    mixed = [
        SamplingParams(temperature=0),
        SamplingParams(temperature=0.7, top_k=5, top_p=0.9),
        SamplingParams(temperature=3, top_k=0, top_p=1),
        SamplingParams(temperature=1, top_k=5, top_p=0.5),
        SamplingParams(temperature=1, top_k=1),
        SamplingParams(temperature=1, top_k=0, top_p=0.8),
    ]
    for seed in range(50):
        scores = logits(len(mixed), seed)
        uniforms = torch.rand(len(mixed), generator=torch.Generator().manual_seed(seed))
        together = sample(scores, columns(*mixed), uniforms).tolist()
        alone = [
            sample(scores[row : row + 1], columns(params), uniforms[row : row + 1]).item()
            for row, params in enumerate(mixed)
        ]
        assert together == alone


@pytest.mark.parametrize("top_p", [0.2, 0.9, 0.999, 1.0])
def test_a_large_vocabulary_is_sampled_as_if_it_were_sorted(top_p: float) -> None:
    """Flat and peaked rows, so that some draws are settled among the most likely tokens and some are not."""
    rows, size = 300, 2000
    generator = torch.Generator().manual_seed(8)
    scores = torch.randn(rows, size, generator=generator) * torch.linspace(0.1, 6, rows).unsqueeze(1)
    uniforms = torch.rand(rows, generator=generator)
    params = [SamplingParams(temperature=0.9, top_k=0, top_p=top_p)] * rows
    got = sample(scores, Columns.of(params, size, CPU), uniforms)
    values, ids = scores.sort(-1, descending=True)
    kept = nucleus((values / 0.9).softmax(-1), torch.full((rows, 1), top_p if top_p < 1 else torch.inf))
    expected = ids.gather(1, draw(kept, uniforms.unsqueeze(1))).squeeze(1)
    assert (got == expected).float().mean() > 0.99  # a draw on a boundary may fall to either side


def test_greedy_takes_the_first_of_equals_like_argmax() -> None:
    scores = torch.zeros(1, VOCABULARY)
    assert sample(scores, columns(SamplingParams(temperature=0)), torch.tensor([0.9])).item() == 0


@pytest.mark.parametrize("temperature", [1e-40, 1e-9, 1e-3])
def test_an_icy_temperature_is_greedy(temperature: float) -> None:
    scores = logits(8) * 1e4
    params = [SamplingParams(temperature=temperature, top_k=0, top_p=1)] * 8
    assert torch.equal(sample(scores, columns(*params), torch.full((8,), 0.999)), scores.argmax(-1))


def test_a_draw_never_takes_a_candidate_without_probability() -> None:
    kept = torch.tensor([[0.5, 0.25, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    almost_one = torch.tensor([[1.0], [1.0]])  # what rounding makes of the largest number below one
    assert draw(kept, almost_one).tolist() == [[1], [0]]
    assert draw(kept, torch.zeros(2, 1)).tolist() == [[0], [0]]


def test_draws_follow_the_probabilities() -> None:
    """Chi-square over 20,000 draws; 27.9 is the 99.9 % point of 9 degrees of freedom."""
    count, width = 20_000, 10
    scores = logits(1, 3)[:, :width] / 2
    generator = torch.Generator().manual_seed(4)
    params = [SamplingParams(temperature=1, top_k=0, top_p=1)] * count
    picked = sample(
        scores.expand(count, -1), Columns.of(params, width, CPU), torch.rand(count, generator=generator)
    )
    expected = scores[0].softmax(-1) * count
    assert expected.min() > 5
    assert ((picked.bincount(minlength=width) - expected) ** 2 / expected).sum() < 27.9


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_damaged_logits_are_an_error(value: float, temperature: float) -> None:
    scores = logits(2)
    scores[1, 5] = value
    with pytest.raises(EngineError, match="not finite"):
        sample(scores, columns(*[SamplingParams(temperature=temperature)] * 2), torch.zeros(2))
