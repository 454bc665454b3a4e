"""What the tests of the engine share: how a caller reads a reply, and how an engine is watched."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest
from little_language import BANNED, SEP
from torch import Tensor
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.engine.gpt2 import Gpt2
from chatgpt2.engine.pytorch import PyTorchEngine

GREEDY = SamplingParams(temperature=0, repetition_penalty=1, stop_ids=(SEP,), max_new_tokens=20)
ENDLESS = replace(GREEDY, stop_ids=(), max_new_tokens=60)
WILD = SamplingParams(temperature=1.5, top_k=0, top_p=1, repetition_penalty=1, stop_ids=(SEP,))


def engine(model: GPT2LMHeadModel, **options: int) -> PyTorchEngine:
    return PyTorchEngine(model, banned_ids=BANNED, **options)


async def steps(engine: PyTorchEngine, prompt: Sequence[int], params: SamplingParams) -> list[Step]:
    async with aclosing(engine.generate(prompt, params)) as stream:
        return [step async for step in stream]


async def reply(
    engine: PyTorchEngine, prompt: Sequence[int], params: SamplingParams, delay: float = 0
) -> list[int]:
    await asyncio.sleep(delay)
    return [token for step in await steps(engine, prompt, params) for token in step.ids]


def idle(engine: PyTorchEngine) -> bool:
    """Whether nothing of any request is left inside."""
    worker = engine._worker
    return not (len(worker._batch) or worker._running or worker._waiting or worker._dropped)


async def until_idle(engine: PyTorchEngine) -> None:
    """The thread forgets a finished or cancelled request a moment after its caller is gone."""
    async with asyncio.timeout(20):
        while not idle(engine):
            await asyncio.sleep(0.001)


_others: set[threading.Thread] = set()


def note_threads() -> None:
    """Those that run now are none of the test that begins: an engine of another may still be ending."""
    _others.clear()
    _others.update(threading.enumerate())


def engine_threads() -> list[threading.Thread]:
    """The engines' threads that the test has begun."""
    running = set(threading.enumerate()) - _others
    return [thread for thread in running if thread.name == "chatgpt2-engine"]


def before_each_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Call `act` in the engine's thread at the beginning of every step."""
    real = Gpt2.next_logits

    def acted(self: Gpt2, cache: object, counts: list[int]) -> Tensor:
        act()
        return real(self, cache, counts)  # type: ignore[arg-type]

    monkeypatch.setattr(Gpt2, "next_logits", acted)


class Gate:
    """Holds every step until a ticket is given, so that a test decides what happens between two steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._tickets = threading.Semaphore(0)
        before_each_step(monkeypatch, lambda: self._tickets.acquire() and None)

    def let(self, steps: int) -> None:
        self._tickets.release(steps)
