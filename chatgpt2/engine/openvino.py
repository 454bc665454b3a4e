"""The `openvino` engine: OpenVINO GenAI's continuous batching on a CPU, in a process of its own (see `pipeline`).

Replies join and leave at every step. Keys and values of what was read before are found again by its ids, so the
next turn of a conversation reads only what is new.
"""

from __future__ import annotations

import asyncio
import random
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from chatgpt2.engine.base import Engine, SamplingParams, Step
from chatgpt2.engine.checking import checked
from chatgpt2.engine.child import Child
from chatgpt2.engine.messages import Add, Command, Drop, Failure, Nudge, Packet, Setup
from chatgpt2.engine.rows import Rows
from chatgpt2.engine.worker import PROMPT_TOKENS_PER_STEP, Event, Request, Worker
from chatgpt2.errors import EngineError

FAST = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"}
"""Activations in groups of 128 as int8, the rest in fp32: measured, that beats OpenVINO's own choice (bf16, groups of
32) for one reply at a time by 1.8 times, is as fast for 32, and no worse (docs/benchmarks.md)."""
EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    "EXECUTION_MODE_HINT": "ACCURACY",
}
"""What fp32 weights are served with, and compared with the reference."""


class _Replies:
    """The running batch, as `worker.Stepper` describes it; the work itself is done in the process."""

    module = "chatgpt2.engine.pipeline"

    def __init__(self, setup: Setup, rows: Rows) -> None:
        self._setup, self._rows = setup, rows
        self._replies: dict[int, tuple[Request, int]] = {}
        self._next_id = 0
        self._outbox: list[Command] = []  # sent together, so that they begin together
        self._child: Child | None = self._start()

    def _start(self) -> Child:
        child = Child(self.module)
        try:
            child.send(self._setup)
            _heard(child)  # that it is ready
        except EngineError:
            child.close()
            raise
        return child

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def alive(self) -> bool:
        """Whether the process runs; any thread may ask."""
        child = self._child
        return child is not None and child.alive

    @property
    def room(self) -> int:
        return self._setup.max_batch - len(self._replies)

    def requests(self) -> set[Request]:
        return {request for request, _ in self._replies.values()}

    def join(self, request: Request) -> int:
        if self._child is not None and not self._replies and not self._child.alive:
            self.clear()
        if self._child is None:
            self._child = self._start()
        prompt, params = request.prompt, request.params
        limit = min(params.max_new_tokens, self._setup.window - len(prompt))
        for index, seed in enumerate(_seeds(params)):
            self._replies[self._next_id] = request, index
            self._outbox.append(Add(self._next_id, prompt, params, limit, seed))
            self._next_id += 1
        return 0  # nothing is read before the next step, and the scheduler shares that out itself

    def step(self) -> list[Event]:
        assert self._child is not None
        self._send()
        events: list[Event] = []
        for said in _heard(self._child):
            if known := self._replies.get(said.reply):  # else it was dropped after the step began
                request, index = known
                events.append((request, Step(self._rows.ids(said.ids), said.finish, index)))
                if said.finish:
                    del self._replies[said.reply]
        return events

    @property
    def quick(self) -> bool:
        return self.alive

    def begin(self) -> None:
        self._send()

    def nudge(self) -> None:
        child = self._child
        if child is not None:
            child.hint([Nudge()])

    def drop(self, request: Request) -> None:
        for name in [name for name, (owner, _) in self._replies.items() if owner is request]:
            del self._replies[name]
            self._outbox.append(Drop(name))
        if not self._replies:  # else the next step sends
            self._send()

    def _send(self) -> None:
        commands, self._outbox = self._outbox, []
        if commands and self._child is not None:
            self._child.send(commands)

    def clear(self) -> None:
        """After a failed step nothing in the process can be trusted: the next request gets a new one."""
        self._replies, self._outbox = {}, []
        if self._child is not None:
            self._child.close()
        self._child = None


def _heard(child: Child) -> list[Any]:
    """What the process said, unless that it failed: that is raised as EngineError."""
    packet: Packet = child.receive()
    if isinstance(packet, Failure):
        raise EngineError(packet.why)
    return packet


def _seeds(params: SamplingParams) -> list[int]:
    """A seed for each reply: equal ones would make equal replies."""
    rng = random.Random(params.seed)
    return [rng.getrandbits(32) for _ in range(params.n)]


class OpenVinoEngine:
    """Generates with a model that `export.exported` wrote.

    window, vocabulary  of the model
    max_batch           replies generated at once; more wait
    max_waiting         requests that may wait; more are refused with EngineBusy
    prefix_tokens       tokens of running and earlier replies whose keys and values are kept, at the least; all
                        running replies have room at their longest in any case
    threads             None: all cores
    properties          of OpenVINO: `FAST`, `EXACT` or others
    fallback            makes the engine for what GenAI cannot do: `no_repeat_ngram` while sampling
    """

    def __init__(
        self,
        folder: Path,
        *,
        window: int,
        vocabulary: int,
        max_batch: int = 32,
        max_waiting: int = 1024,
        prefix_tokens: int = 16_384,
        threads: int | None = None,
        properties: Mapping[str, Any] = FAST,
        fallback: Callable[[], Engine] | None = None,
    ) -> None:
        self._window, self._vocabulary, self._max_batch = window, vocabulary, max_batch
        self._rows = Rows.of(folder)
        self.setup = Setup(
            folder=str(folder),
            window=window,
            max_batch=max_batch,
            prefix_tokens=prefix_tokens,
            prompt_tokens_per_step=PROMPT_TOKENS_PER_STEP,
            properties={**properties, **({} if threads is None else {"INFERENCE_NUM_THREADS": threads})},
        )
        try:
            replies = _Replies(self.setup, self._rows)
        except EngineError as error:
            why = str(error)[-300:]  # the reason comes last, after places in the source
            raise EngineError(
                f"OpenVINO cannot load {folder}: delete that folder, or take --engine pytorch (… {why})"
            ) from error
        self._replies, self._worker = replies, Worker(replies, max_waiting)
        self._make_fallback = fallback
        self._fallback: Engine | None = None
        self._making = threading.Lock()
        self._stop_at_exit = weakref.finalize(self, self._worker.stop)

    def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        """Stream one reply (or `params.n`). Closing the iterator frees its place at once.

        A reply that reaches the end of the model's window ends there, with finish "length".
        """
        prompt = checked(
            prompt_ids, params, window=self._window, vocabulary=self._vocabulary, max_batch=self._max_batch
        )
        if params.no_repeat_ngram:
            return self._elsewhere(prompt, params)
        # An id that the model does not have would fail everyone's step.
        params = replace(params, stop_ids=self._rows.of_stops(params.stop_ids))
        return self._worker.answer(self._rows.of_prompt(prompt), params, self)

    async def _elsewhere(self, prompt: list[int], params: SamplingParams) -> AsyncGenerator[Step]:
        other = await asyncio.to_thread(self._other)
        async with aclosing(cast("AsyncGenerator[Step]", other.generate(prompt, params))) as steps:
            async for step in steps:
                yield step

    def _other(self) -> Engine:
        if self._make_fallback is None:
            raise EngineError("no_repeat_ngram is not offered by the openvino engine: take pytorch")
        with self._making:
            if self._fallback is None:
                self._fallback = self._make_fallback()
            return self._fallback

    async def check(self) -> None:
        """See `Checkable`. A process that has ended is started anew, by a reply of one token."""
        self._worker.check()
        if not self._replies.alive:
            async with aclosing(self._worker.answer([0], SamplingParams(max_new_tokens=1), self)) as steps:
                await anext(steps)

    async def close(self) -> None:
        """Stop all work and free the memory; waiting callers get an EngineError."""
        await asyncio.to_thread(self._worker.stop)
        if self._fallback is not None:
            await self._fallback.close()
