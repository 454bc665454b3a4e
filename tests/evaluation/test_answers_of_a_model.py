from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.errors import EngineError
from chatgpt2.evaluation import generate_replies


class LetterCodec:
    """Ids are code points. Stands in for `Codec`, which needs a vocabulary."""

    window = 20
    stop_ids = (0,)

    def prompt(self, dialogue: Dialogue, room: int, opening: Sequence[Turn] = ()) -> list[int]:
        return [ord(c) for turn in (*opening, *dialogue.turns) for c in turn.text][-room:]

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


async def test_each_reply_has_a_seed_of_its_own_and_the_opening_before_it() -> None:
    engine, answered = EchoEngine(crowd=2), []
    params = SamplingParams(max_new_tokens=5, seed=7)
    prompts = [Dialogue.of(["好"]), Dialogue.of(["坏"])]
    opening = [Turn("user", "你")]
    replies = await generate_replies(
        engine,
        LetterCodec(),
        prompts,
        params,
        opening=opening,
        answered=lambda: answered.append(1),  # type: ignore[arg-type]
    )
    assert replies == ["你好", "你坏"]
    assert sorted(p.seed or 0 for p in engine.params) == [7, 8]
    assert len(answered) == 2
