"""Steps that were recorded once say what the others say.

Where there is no GPU, what PyTorch does in a step is recorded as a graph of its operations on the tensors they
touched: as with CUDA graphs, a value that Python looked at while recording stays what it was, looking at one that is
not known yet fails, and the result lies where it always lies.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
import torch
from callers import GREEDY, WILD, engine, reply
from little_language import prompts
from torch.fx.experimental.proxy_tensor import make_fx
from transformers import GPT2LMHeadModel

from chatgpt2.engine import batch, graphs
from chatgpt2.engine.graphs import Run
from chatgpt2.engine.pytorch import PyTorchEngine

PROMPTS = prompts(30, seed=11)


class Recorder:
    """Keeps count of what it recorded."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, run: Run) -> Run:
        self.recorded += 1
        graph = make_fx(run)()
        result = torch.empty_like(graph())

        def replay() -> torch.Tensor:
            return result.copy_(graph())

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(batch, "recorder", lambda device: made)
    return made


LONG = replace(GREEDY, max_new_tokens=60, repetition_penalty=1.2, no_repeat_ngram=4)


async def crowd(shared: PyTorchEngine) -> list[list[int]]:
    """Callers come and go at random times, among others who sample wildly."""
    rng = random.Random(3)
    async with asyncio.TaskGroup() as group:
        for prompt in PROMPTS:
            group.create_task(reply(shared, prompt, WILD, rng.random() / 10))
        greedy = [group.create_task(reply(shared, prompt, LONG, rng.random() / 10)) for prompt in PROMPTS]
    await shared.close()
    return [task.result() for task in greedy]


LONG = replace(GREEDY, max_new_tokens=60, repetition_penalty=1.2, no_repeat_ngram=4)


@pytest.fixture
async def expected(model: GPT2LMHeadModel) -> list[list[int]]:
    return await crowd(engine(model, max_batch=5))


async def test_recorded_steps_give_the_same_replies(
    model: GPT2LMHeadModel, expected: list[list[int]], recorder: Recorder
) -> None:
    assert await crowd(engine(model, max_batch=5)) == expected
    assert 2 <= recorder.recorded <= 8  # 1, 2, 4, 5 rows, 64 or 96 positions


async def test_an_engine_that_failed_records_anew(model: GPT2LMHeadModel, recorder: Recorder) -> None:
    """The cache that the records held is gone."""
    shared = engine(model, max_batch=2)
    first = await reply(shared, PROMPTS[0], LONG)
    worker = shared._worker
    worker._batch.clear()
    assert await reply(shared, PROMPTS[0], LONG) == first
    assert await reply(shared, PROMPTS[1], LONG)
    await shared.close()


def test_sizes_are_rounded_up_so_that_there_are_few() -> None:
    assert [graphs._rounded(rows, 1, 48) for rows in (1, 2, 3, 9, 33, 48)] == [1, 2, 4, 16, 48, 48]
    assert [graphs._rounded(places, 64, 300) for places in (1, 64, 65, 257)] == [64, 64, 128, 300]


def test_nothing_is_recorded_on_a_cpu() -> None:
    assert graphs.recorder(torch.device("cpu")) is None
