"""Who gets what: any mix of arrivals, cancellations and failures."""

from __future__ import annotations

import asyncio
import gc
import random
from dataclasses import replace

import pytest
from callers import (
    ENDLESS,
    GREEDY,
    Gate,
    before_each_step,
    engine,
    engine_threads,
    idle,
    reply,
    until_idle,
)
from little_language import prompts
from storms import storm
from transformers import GPT2LMHeadModel

from chatgpt2.engine.batch import Batch
from chatgpt2.engine.gpt2 import Gpt2
from chatgpt2.errors import EngineError

PROMPTS = prompts(12, seed=5)


@pytest.mark.parametrize(("seed", "rows", "kept"), [(0, 2, 0), (1, 7, 200), (2, 32, 4096), (3, 7, 4096)])
async def test_everyone_gets_their_own_tokens_in_order_once(
    model: GPT2LMHeadModel,
    endless: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    rows: int,
    kept: int,
) -> None:
    """1,000 requests in four storms, and now and then a step fails. Nothing is left behind."""
    rng, mishaps = random.Random(seed), random.Random(seed)
    luck = 0.02

    def fail_now_and_then() -> None:
        if mishaps.random() < luck:
            raise RuntimeError("out of luck")

    before_each_step(monkeypatch, fail_now_and_then)
    shared = engine(model, max_batch=rows, prefix_tokens=kept)
    ended = await storm(shared, rng, list(zip(PROMPTS, endless, strict=True)), ENDLESS)
    assert all(ended[why] for why in ("complete", "left", "cancelled", "failed"))
    await until_idle(shared)
    luck = 0
    every_place = [reply(shared, PROMPTS[i % len(PROMPTS)], ENDLESS) for i in range(rows)]
    assert await asyncio.gather(*every_place) == [endless[i % len(PROMPTS)] for i in range(rows)]
    await until_idle(shared)
    batch = shared._worker._batch
    assert isinstance(batch, Batch) and len(batch._cache.ids) < 2 * rows  # it grows by doubling
    assert sum(map(len, batch._prefixes._saved)) == batch._prefixes.tokens <= kept
    assert len(engine_threads()) == 1
    await shared.close()
    assert not engine_threads()


async def test_an_error_reaches_every_caller_and_the_engine_goes_on(
    model: GPT2LMHeadModel, endless: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    def fail() -> None:
        if broken:
            raise ValueError("the device is on fire")

    before_each_step(monkeypatch, fail)
    shared = engine(model, max_batch=4)
    results = await asyncio.gather(*(reply(shared, p, ENDLESS) for p in PROMPTS), return_exceptions=True)
    assert all(isinstance(error, EngineError) and "the device is on fire" in str(error) for error in results)
    assert len({id(error) for error in results}) == len(PROMPTS)
    assert isinstance(results[0], EngineError) and isinstance(results[0].__cause__, ValueError)
    broken = False
    assert await reply(shared, PROMPTS[0], ENDLESS) == endless[0]
    await shared.close()


async def test_an_error_while_a_prompt_is_read_reaches_its_caller(
    model: GPT2LMHeadModel, endless: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = engine(model)
    with monkeypatch.context() as patch:
        patch.setattr(Gpt2, "read", lambda *_: [][0])
        with pytest.raises(EngineError, match="IndexError"):
            await reply(shared, PROMPTS[0], ENDLESS)
    assert await reply(shared, PROMPTS[0], ENDLESS) == endless[0]
    await shared.close()


async def test_a_caller_who_goes_away_frees_the_place_at_once(
    model: GPT2LMHeadModel, endless: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, single = Gate(monkeypatch), engine(model, max_batch=1)
    stream = single.generate(PROMPTS[0], ENDLESS)
    gate.let(1)
    assert (await anext(stream)).ids == endless[0][:1]
    second = asyncio.create_task(reply(single, PROMPTS[1], replace(ENDLESS, max_new_tokens=5)))
    await asyncio.sleep(0)
    await stream.aclose()  # type: ignore[attr-defined]
    gate.let(6)  # one step may be under way, and five must be enough for the second
    assert await second == endless[1][:5]
    await single.close()


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_cancelled_task_leaves_nothing(
    model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch, waiting: bool
) -> None:
    gate, single = Gate(monkeypatch), engine(model, max_batch=1)
    first = asyncio.create_task(reply(single, PROMPTS[0], ENDLESS))
    await asyncio.sleep(0)
    second = asyncio.create_task(reply(single, PROMPTS[1], ENDLESS))
    await asyncio.sleep(0)
    for task in (second, first) if waiting else (first, second):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.let(2)
    await until_idle(single)
    await single.close()


async def test_a_caller_who_just_stops_reading_is_let_go(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    async for _ in shared.generate(PROMPTS[0], ENDLESS):
        break
    gc.collect()
    await until_idle(shared)
    await shared.close()


async def test_a_stream_that_is_never_read_costs_nothing(model: GPT2LMHeadModel) -> None:
    shared = engine(model)
    stream = shared.generate(PROMPTS[0], ENDLESS)
    assert idle(shared) and not engine_threads()
    await stream.aclose()  # type: ignore[attr-defined]


async def test_too_many_waiting_requests_are_refused(
    model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, narrow = Gate(monkeypatch), engine(model, max_batch=1, max_waiting=3)
    first = asyncio.create_task(reply(narrow, PROMPTS[0], GREEDY))
    async with asyncio.timeout(20):
        while not len(narrow._worker._batch):
            await asyncio.sleep(0.001)
    others = [asyncio.create_task(reply(narrow, PROMPTS[0], GREEDY)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(EngineError, match="busy: 3 requests are waiting"):
        await reply(narrow, PROMPTS[0], GREEDY)
    gate.let(1000)
    assert len({tuple(ids) for ids in await asyncio.gather(first, *others)}) == 1
    await narrow.close()


async def test_a_request_for_many_replies_waits_for_room_and_is_not_overtaken(
    model: GPT2LMHeadModel,
) -> None:
    shared = engine(model, max_batch=4)
    finished: list[int] = []

    async def ask(n: int, tokens: int) -> None:
        await reply(shared, PROMPTS[0], replace(ENDLESS, n=n, max_new_tokens=tokens))
        finished.append(n)

    await asyncio.gather(ask(2, 30), ask(4, 5), ask(1, 5))
    assert finished == [2, 4, 1]
    await shared.close()


async def test_the_event_loop_stays_free_during_a_step(
    model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, shared = Gate(monkeypatch), engine(model)
    task = asyncio.create_task(reply(shared, PROMPTS[0], GREEDY))
    for _ in range(50):  # would hang if the step ran here: no step has a ticket yet
        await asyncio.sleep(0.001)
    gate.let(1000)
    await task
    await shared.close()


async def test_an_engine_that_cannot_start_over_says_so_to_everyone(
    model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a GPU is lost: nobody waits for what cannot come."""
    broken = engine(model, max_batch=1)

    def fail() -> None:
        raise RuntimeError("the GPU is gone")

    before_each_step(monkeypatch, fail)
    monkeypatch.setattr(broken._worker._batch, "clear", fail)
    tasks = [asyncio.create_task(reply(broken, [5], ENDLESS)) for _ in range(3)]
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, EngineError) for result in results)
    with pytest.raises(EngineError, match="closed"):
        await reply(broken, [5], ENDLESS)
    await broken.close()
