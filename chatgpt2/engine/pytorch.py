"""The `pytorch` engine: many callers, one batch, one thread (see `worker`).

The same seed gives the same reply whatever else is in the batch, up to the rounding of the logits
(see `sampling`). In bfloat16 that rounding is coarse enough to be met now and then; float32 is the reference.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Sequence

import torch
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.engine.batch import Batch
from chatgpt2.engine.checking import check_banned, checked
from chatgpt2.engine.gpt2 import Gpt2
from chatgpt2.engine.worker import Worker


class PyTorchEngine:
    """Generates with a GPT-2 model on whatever device it lies.

    banned_ids     never sampled
    pad_id         fills unused places of the table of ids; never read
    max_batch      replies generated at once; more wait
    max_waiting    requests that may wait; more are refused
    prefix_tokens  tokens of finished replies whose keys and values are kept for the next turn of their
                   conversation; 0 keeps none
    dtype          compute in this precision (copies the weights); None: the model's own. bfloat16 on a CPU that
                   has it made 8 and more replies at once about 1.6 times as fast, a single one no faster

    The weights must not change while the engine is in use: make a new engine after training on.
    """

    def __init__(
        self,
        model: GPT2LMHeadModel,
        *,
        banned_ids: Sequence[int] = (),
        pad_id: int = 0,
        max_batch: int = 32,
        max_waiting: int = 1024,
        prefix_tokens: int = 4096,
        dtype: torch.dtype | None = None,
    ) -> None:
        forward = Gpt2(model, dtype)
        check_banned(banned_ids, forward.vocabulary)
        self._window = forward.window
        self._vocabulary = forward.vocabulary
        self._max_batch = max_batch
        self._batch = Batch(forward, banned_ids, pad_id, max_batch, prefix_tokens)
        self._worker = Worker(self._batch, max_waiting)
        # A daemon thread inside torch while the interpreter is torn down can crash it: stop it before.
        self._stop_at_exit = weakref.finalize(self, self._worker.stop)

    def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        """Stream one reply (or `params.n`). Closing the iterator frees its place at once.

        A reply that reaches the end of the model's window ends there, with finish "length".
        """
        prompt = checked(
            prompt_ids, params, window=self._window, vocabulary=self._vocabulary, max_batch=self._max_batch
        )
        return self._worker.answer(prompt, params, self)

    @property
    def reused_tokens(self) -> int:
        """Prompt tokens that need not be read, since the start; see `Reusing`."""
        return self._batch.reused

    async def check(self) -> None:
        """See `Checkable`."""
        self._worker.check()

    async def close(self) -> None:
        """Stop all work and free the memory; waiting callers get an EngineError."""
        await asyncio.to_thread(self._worker.stop)
