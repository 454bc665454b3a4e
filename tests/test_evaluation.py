from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.errors import ConfigError, EngineError
from chatgpt2.evaluation import (
    HeldOut,
    distinct,
    generate_replies,
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


class LetterCodec:
    """Ids are code points. Stands in for `Codec`, which needs a vocabulary."""

    window = 20
    stop_ids = (0,)

    def prompt(self, dialogue: Dialogue, room: int) -> list[int]:
        return [ord(c) for turn in dialogue.turns for c in turn.text][-room:]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(map(chr, ids))


class EchoEngine:
    """Says the prompt again, once all of `crowd` callers are there."""

    def __init__(self, crowd: int) -> None:
        self.params: list[SamplingParams] = []
        self._crowd = asyncio.Barrier(crowd)
        self.cancelled = 0

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncIterator[Step]:
        self.params.append(params)
        try:
            await self._crowd.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        for token in prompt_ids:
            if token == ord("!"):
                raise EngineError("no shouting")
            yield Step([token])
        yield Step([], "stop")

    async def close(self) -> None: ...


async def test_all_prompts_are_answered_together_and_in_order() -> None:
    engine = EchoEngine(crowd=3)
    prompts = [Dialogue.of([text]) for text in ("你好", "再见", "a much longer message")]
    params = SamplingParams(max_new_tokens=15, n=2)
    assert await generate_replies(engine, LetterCodec(), prompts, params) == ["你好", "再见", "ssage"]  # type: ignore[arg-type]
    assert {(p.n, p.stop_ids, p.max_new_tokens) for p in engine.params} == {(1, (0,), 15)}


async def test_stop_ids_that_are_given_are_kept() -> None:
    engine = EchoEngine(crowd=1)
    params = SamplingParams(max_new_tokens=5, stop_ids=(7, 8))
    await generate_replies(engine, LetterCodec(), [Dialogue.of(["好"])], params)  # type: ignore[arg-type]
    assert engine.params[0].stop_ids == (7, 8)


async def test_an_error_ends_the_others() -> None:
    engine = EchoEngine(crowd=3)
    prompts = [Dialogue.of([text]) for text in ("a", "!", "b")] + [Dialogue.of(["c"])]
    with pytest.raises(EngineError, match="no shouting"):
        await generate_replies(engine, LetterCodec(), prompts, SamplingParams(max_new_tokens=5))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert engine.cancelled == 1


async def test_no_prompts_give_no_replies() -> None:
    assert await generate_replies(EchoEngine(1), LetterCodec(), [], SamplingParams()) == []  # type: ignore[arg-type]
