"""The `openvino` engine: OpenVINO GenAI's continuous batching on a CPU, one thread (see `worker`).

Replies join and leave at every step. Keys and values of what was read before are found again by its ids, so the
next turn of a conversation reads only what is new. GenAI's Python binding holds the interpreter during a step
(2026.4): an event loop of the same process gets its turn between two steps only.
"""

from __future__ import annotations

import asyncio
import random
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import openvino_genai as genai
from openvino import Tensor

from chatgpt2.engine.base import Engine, Finish, SamplingParams, Step
from chatgpt2.engine.worker import PROMPT_TOKENS_PER_STEP, Event, Request, Worker, checked
from chatgpt2.errors import EngineError

_BLOCK = 32  # tokens in a block of the cache, on a CPU
_TINY = 1e-6
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


def scheduler(window: int, max_batch: int, prefix_tokens: int) -> Any:
    """GenAI's SchedulerConfig for a model of `window` positions (see OpenVinoEngine)."""
    config = genai.SchedulerConfig()
    config.enable_prefix_caching = True
    # A reply owns its last block alone, whatever else is shared.
    config.num_kv_blocks = -(-max(window, prefix_tokens) // _BLOCK) + max_batch
    config.max_num_seqs = max_batch
    config.max_num_batched_tokens = PROMPT_TOKENS_PER_STEP
    config.dynamic_split_fuse = True
    return config


@dataclass(eq=False, slots=True)
class _Reply:
    """One reply in the making."""

    request: Request
    index: int
    handle: Any  # a GenerationHandle
    stops: frozenset[int]


class _Pipeline:
    """The running batch, as `worker.Stepper` describes it, over a ContinuousBatchingPipeline."""

    def __init__(
        self, folder: Path, window: int, max_batch: int, prefix_tokens: int, properties: dict[str, Any]
    ) -> None:
        self._window, self._max_batch = window, max_batch
        self._build = partial(
            genai.ContinuousBatchingPipeline,
            str(folder),
            scheduler_config=scheduler(window, max_batch, prefix_tokens),
            device="CPU",
            properties=properties,
        )
        self._replies: list[_Reply] = []
        self._next_id = 0
        self._pipeline: Any = self._build()

    def __len__(self) -> int:
        return len(self._replies)

    @property
    def room(self) -> int:
        return self._max_batch - len(self._replies)

    def requests(self) -> set[Request]:
        return {reply.request for reply in self._replies}

    def join(self, request: Request) -> int:
        if self._pipeline is None:
            self._pipeline = self._build()
        prompt = Tensor(np.array([request.prompt], dtype=np.int64))
        stops = frozenset(request.params.stop_ids)
        for index, seed in enumerate(_seeds(request.params)):
            config = _config(request.params, self._window - len(request.prompt), seed)
            handle = self._pipeline.add_request(self._next_id, prompt, config)
            self._next_id += 1
            self._replies.append(_Reply(request, index, handle, stops))
        return 0  # nothing is read before the next step, and the scheduler shares that out itself

    def step(self) -> list[Event]:
        self._pipeline.step()
        events: list[Event] = []
        going: list[_Reply] = []
        for reply in self._replies:
            step = _read(reply)
            if step.ids or step.finish:
                events.append((reply.request, step))
            if step.finish is None:
                going.append(reply)
        self._replies = going
        return events

    def drop(self, request: Request) -> None:
        for reply in self._replies:
            if reply.request is request:
                reply.handle.cancel()
        self._replies = [reply for reply in self._replies if reply.request is not request]
        # The next step frees what was cancelled; there is none when nobody else is being answered.
        pipeline = None if self._replies else self._pipeline
        while pipeline is not None and pipeline.has_non_finished_requests():
            pipeline.step()

    def clear(self) -> None:
        """After a failed step nothing inside the pipeline can be trusted: the next request gets a new one."""
        self._replies = []
        self._pipeline = None


def _read(reply: _Reply) -> Step:
    """The tokens that the last step gave a reply."""
    ids: list[int] = []
    finish: Finish | None = None
    while reply.handle.can_read():
        for output in reply.handle.read().values():
            ids += output.generated_ids
            if output.finish_reason == genai.GenerationFinishReason.STOP:
                finish = "stop"
            elif output.finish_reason == genai.GenerationFinishReason.LENGTH:
                finish = "length"
    if finish == "stop" and ids and ids[-1] in reply.stops:
        ids.pop()
    if finish is None and reply.handle.get_status() == genai.GenerationStatus.IGNORED:
        raise EngineError("the cache is too small for this request")
    return Step(ids, finish, reply.index)


def _seeds(params: SamplingParams) -> list[int]:
    """A seed for each reply: equal ones would make equal replies."""
    rng = random.Random(params.seed)
    return [rng.getrandbits(32) for _ in range(params.n)]


def _config(params: SamplingParams, room: int, seed: int) -> Any:
    config = genai.GenerationConfig()
    config.max_new_tokens = min(params.max_new_tokens, room)
    config.min_new_tokens = min(params.min_new_tokens, config.max_new_tokens)
    # GenAI takes single precision and refuses zero, which a tiny number becomes there.
    config.repetition_penalty = max(params.repetition_penalty, _TINY)
    config.do_sample = params.temperature > 0
    if config.do_sample:
        config.temperature = max(params.temperature, _TINY)
        config.top_p = max(params.top_p, _TINY)
        if params.top_k:
            config.top_k = params.top_k
    # Without an end-of-sequence id GenAI takes the tokenizer's, and ours has none.
    config.set_eos_token_id(min(params.stop_ids, default=0))
    config.stop_token_ids = set(params.stop_ids or (0,))
    config.ignore_eos = not params.stop_ids
    config.rng_seed = seed
    return config


class OpenVinoEngine:
    """Generates with a model that `export.exported` wrote.

    window, vocabulary  of the model
    max_batch           replies generated at once; more wait
    max_waiting         requests that may wait; more are refused with EngineBusy
    prefix_tokens       tokens of running and earlier replies whose keys and values are kept
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
        self.prefix_tokens = prefix_tokens
        chosen = {**properties, **({} if threads is None else {"INFERENCE_NUM_THREADS": threads})}
        try:
            pipeline = _Pipeline(folder, window, max_batch, prefix_tokens, chosen)
        except RuntimeError as error:
            why = " ".join(str(error).split())[-300:]  # the reason comes last, after places in the source
            raise EngineError(
                f"OpenVINO cannot load {folder}: delete that folder, or take --engine pytorch (… {why})"
            ) from error
        self._worker = Worker(pipeline, max_waiting)
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
        return self._worker.answer(prompt, params, self)

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

    async def close(self) -> None:
        """Stop all work and free the memory; waiting callers get an EngineError."""
        await asyncio.to_thread(self._worker.stop)
        if self._fallback is not None:
            await self._fallback.close()
