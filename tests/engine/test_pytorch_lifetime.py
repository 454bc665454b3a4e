"""Several event loops, closing, being forgotten, leaving the interpreter in the middle."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from callers import ENDLESS, GREEDY, Gate, engine, engine_threads, idle, reply, until_idle
from little_language import prompts
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import check
from chatgpt2.errors import EngineError

PROMPTS = prompts(12, seed=5)


def test_several_event_loops_share_an_engine(model: GPT2LMHeadModel, endless: list[list[int]]) -> None:
    shared = engine(model)
    for which in range(3):
        assert asyncio.run(reply(shared, PROMPTS[which], ENDLESS)) == endless[which]
    results: dict[int, list[int]] = {}

    def run(which: int) -> None:
        results[which] = asyncio.run(reply(shared, PROMPTS[which], ENDLESS))

    threads = [threading.Thread(target=run, args=(which,)) for which in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[which] for which in range(6)] == endless[:6]
    assert len(engine_threads()) == 1
    asyncio.run(shared.close())


def test_a_loop_that_is_closed_under_its_callers_does_no_harm(
    model: GPT2LMHeadModel, endless: list[list[int]]
) -> None:
    shared = engine(model, max_batch=1)
    loop = asyncio.new_event_loop()
    stream = shared.generate(PROMPTS[0], ENDLESS)
    loop.run_until_complete(anext(stream))
    loop.close()
    assert asyncio.run(reply(shared, PROMPTS[1], ENDLESS)) == endless[1]
    asyncio.run(until_idle(shared))
    asyncio.run(shared.close())


async def test_closing_fails_those_who_wait_and_refuses_newcomers(
    model: GPT2LMHeadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, narrow = Gate(monkeypatch), engine(model, max_batch=2)
    tasks = [asyncio.create_task(reply(narrow, prompt, ENDLESS)) for prompt in PROMPTS]
    await asyncio.sleep(0)
    closing = asyncio.create_task(narrow.close())
    await asyncio.sleep(0.01)
    gate.let(1)
    await closing
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, EngineError) and "closed" in str(r) for r in results)
    assert not engine_threads() and idle(narrow)
    with pytest.raises(EngineError, match="the engine is closed"):
        await reply(narrow, PROMPTS[0], GREEDY)
    with pytest.raises(EngineError, match="the engine is closed"):
        await check(narrow)
    await narrow.close()


async def test_an_engine_that_was_never_used_closes_too(model: GPT2LMHeadModel) -> None:
    unused = engine(model)
    await check(unused)
    await unused.close()


async def test_an_engine_nobody_holds_ends_its_thread(model: GPT2LMHeadModel) -> None:
    forgotten = engine(model)
    await reply(forgotten, PROMPTS[0], GREEDY)
    assert len(engine_threads()) == 1
    del forgotten
    gc.collect()
    assert not engine_threads()


LEAVE_IN_THE_MIDDLE = """
import asyncio
from callers import ENDLESS, engine
from little_language import small_model


async def main():
    stream = shared.generate([5, 6, 7], ENDLESS)
    await anext(stream)
    print("left", flush=True)
    raise SystemExit(3)

shared = engine(small_model())
asyncio.run(main())
"""


@pytest.mark.slow
def test_the_interpreter_may_exit_in_the_middle_of_a_reply() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LEAVE_IN_THE_MIDDLE],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (3, "left\n", "")
