"""What sampling settings mean: the distribution of the first token over many seeds."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

from callers import steps
from little_language import SEP

from chatgpt2.engine.base import SamplingParams

SETTINGS = [
    SamplingParams(temperature=1, top_k=0, top_p=1, repetition_penalty=1),
    SamplingParams(temperature=2.5, top_k=0, top_p=1, repetition_penalty=1),
    SamplingParams(temperature=2.5, top_k=5, top_p=1, repetition_penalty=1),
    SamplingParams(temperature=2.5, top_k=0, top_p=0.6, repetition_penalty=1),
    SamplingParams(temperature=2.5, top_k=6, top_p=0.7, repetition_penalty=1),
    SamplingParams(temperature=2.5, top_k=20, top_p=1, repetition_penalty=1.8),
]
_DRAWS = 1500
_AT_ONCE = 300  # no queue takes them all


async def draws(
    engine: Any, prompt: list[int], params: SamplingParams, each: int = 1, first_seed: int = 0
) -> Counter[int]:
    """How often each token comes first, over as many seeds; one request asks for `each` replies."""
    wide = replace(params, max_new_tokens=1, min_new_tokens=1, stop_ids=(SEP,), n=each)
    seeds = range(first_seed, first_seed + _DRAWS // each)
    found: Counter[int] = Counter()
    for start in range(0, len(seeds), _AT_ONCE // each):
        some = seeds[start : start + _AT_ONCE // each]
        for said in await asyncio.gather(*(steps(engine, prompt, replace(wide, seed=seed)) for seed in some)):
            found.update(token for step in said for token in step.ids)
    assert found.total() == len(seeds) * each
    return found


def assert_alike(ours: Counter[int], due: Counter[int]) -> None:
    """As far as chance allows."""
    distance = sum(abs(ours[token] - due[token]) for token in {*ours, *due}) / 2 / _DRAWS
    assert distance < 0.02 + 0.5 * (len({*ours, *due}) / _DRAWS) ** 0.5
    often = 20
    assert {token for token, times in due.items() if times > often} <= set(ours)
    assert {token for token, times in ours.items() if times > often} <= set(due)
