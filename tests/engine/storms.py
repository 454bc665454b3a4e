"""A thousand callers who come and go as they like, and what each of them must get."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import EngineError

CALLERS = 250  # in one storm; four of them are a thousand
Known = Sequence[
    tuple[list[int], list[int]]
]  # prompts, and what an engine that does nothing else says to them


async def storm(
    engine: Any,
    rng: random.Random,
    known: Known,
    params: SamplingParams,
    before_each: Callable[[int], None] = lambda number: None,
) -> Counter[str]:
    """How many replies were complete, left early, cancelled and failed, after all of them were what they must be.

    `before_each` is called with the number of each request that is sent.
    """
    ended: Counter[str] = Counter()
    sent = 0

    async def caller(delay: float) -> None:
        nonlocal sent
        prompt, due = rng.choice(known)
        tokens, patience = rng.randint(1, len(due)), rng.choice([1000, 1000, rng.randint(1, len(due))])
        await asyncio.sleep(delay)
        before_each(sent)
        sent += 1
        got, why = await _read(engine, prompt, replace(params, max_new_tokens=tokens), patience)
        assert got == due[: len(got)]
        assert why == "failed" or len(got) == tokens or tokens > len(got) >= patience
        ended[why] += 1

    tasks = [asyncio.create_task(caller(rng.random() / 2)) for _ in range(CALLERS)]
    for task in rng.sample(tasks, CALLERS // 6):
        asyncio.get_running_loop().call_later(rng.random(), task.cancel)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, asyncio.CancelledError):
            ended["cancelled"] += 1
        elif result is not None:
            raise result
    assert ended.total() == CALLERS
    return ended


async def _read(
    engine: Any, prompt: list[int], params: SamplingParams, patience: int
) -> tuple[list[int], str]:
    """A reply, but who reads it goes away after `patience` tokens; and how it ended."""
    got: list[int] = []
    try:
        async with aclosing(engine.generate(prompt, params)) as stream:
            async for step in stream:
                got += step.ids
                if len(got) >= patience:
                    return got, "left"
    except EngineError:
        return got, "failed"
    return got, "complete"
