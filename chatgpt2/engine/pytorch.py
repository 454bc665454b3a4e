"""The `pytorch` engine: many callers, one batch, one thread.

`generate` puts a request into a queue and waits at its mailbox; a worker thread takes requests into the
running batch, steps it, and hands the tokens of each step to the callers' event loops. The torch work never
blocks an event loop, and callers from several loops (or one `asyncio.run` after another) share the batch.

The same seed gives the same reply whatever else is in the batch, up to the rounding of the logits
(see `sampling`). In bfloat16 that rounding is coarse enough to be met now and then; float32 is the reference.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Sequence

import torch
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.engine.batch import Batch, Event, Request
from chatgpt2.engine.gpt2 import Gpt2
from chatgpt2.errors import EngineError

# Prompt tokens read per step before the running replies get their next token: what limits how long a
# crowd of newcomers can hold up those who are being answered.
_PROMPT_TOKENS_PER_STEP = 512
_EXIT_SECONDS = 10  # how long leaving the interpreter waits for the step in progress

Letter = tuple[Request, Step | EngineError]


class Worker:
    """The thread that steps the batch. It does not know its engine, so that an engine nobody holds can go."""

    def __init__(self, batch: Batch, max_waiting: int) -> None:
        self._batch = batch  # touched by the thread only
        self._max_waiting = max_waiting
        self._changed = threading.Condition()  # guards everything below
        self._waiting: deque[Request] = deque()
        self._running: set[Request] = set()
        self._dropped: list[Request] = []
        self._closing = False
        self._thread: threading.Thread | None = None

    def submit(self, request: Request) -> None:
        """Queue a request; the thread starts with the first one."""
        with self._changed:
            if self._closing:
                raise EngineError("the engine is closed")
            if len(self._waiting) >= self._max_waiting:
                raise EngineError(
                    f"the engine is busy: {len(self._waiting)} requests are waiting, try again later"
                )
            self._waiting.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="chatgpt2-engine", daemon=True)
                self._thread.start()
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """The caller went away: free the request's place. Nothing happens when it is finished."""
        with self._changed:
            if request in self._running:
                self._dropped.append(request)
                self._changed.notify()
            elif request in self._waiting:
                self._waiting.remove(request)

    def stop(self) -> None:
        """End the thread after the step in progress and wait for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_EXIT_SECONDS)

    @torch.inference_mode()
    def _work(self) -> None:
        while self._wait():
            try:
                self._turn()
            except Exception as error:  # whatever torch raises belongs to the callers; the thread goes on
                self._fail(error)
        self._batch.clear()
        with self._changed:
            left = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        self._post((request, EngineError("the engine was closed")) for request in left)

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when the engine closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting or self._dropped or self._running)
            return not self._closing

    def _turn(self) -> None:
        """Let go of the cancelled, take in newcomers, give everyone a token."""
        with self._changed:
            dropped, self._dropped = self._dropped, []
            self._running.difference_update(dropped)
        for request in dropped:
            self._batch.drop(request)
        self._admit()
        if len(self._batch):
            self._finish(self._batch.step())

    def _admit(self) -> None:
        """First come, first served: a request for many replies is not overtaken while it waits for room."""
        read = 0
        while read < _PROMPT_TOKENS_PER_STEP and (request := self._next()):
            read += 1 + self._batch.join(request)

    def _next(self) -> Request | None:
        with self._changed:
            if not self._waiting or self._waiting[0].params.n > self._batch.room:
                return None
            request = self._waiting.popleft()
            self._running.add(request)
            return request

    def _finish(self, events: list[Event]) -> None:
        """Send the tokens out; a request leaves with the last of its replies."""
        going = self._batch.requests()
        with self._changed:
            self._running &= going
        self._post(events)

    def _fail(self, error: Exception) -> None:
        """Everyone in the batch gets the error, those in the queue their turn with a fresh batch."""
        self._batch.clear()
        with self._changed:
            failed = list(self._running)
            self._running.clear()
        self._post((request, _explained(error)) for request in failed)

    def _post(self, letters: Iterable[Letter]) -> None:
        """Put letters into mailboxes: one call into each event loop, since each costs a wake-up."""
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[Letter]] = defaultdict(list)
        for letter in letters:
            by_loop[letter[0].loop].append(letter)
        for loop, bundle in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, bundle)
            except RuntimeError:  # the loop was closed under its callers: nobody is there to read
                for request, _ in bundle:
                    self.cancel(request)


def _deliver(letters: list[Letter]) -> None:
    for request, content in letters:
        request.mailbox.put_nowait(content)


def _explained(error: Exception) -> EngineError:
    """An error of its own for each caller: exceptions carry a traceback, which callers must not share."""
    what = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    explained = EngineError(f"the reply could not be generated: {what}")
    explained.__cause__ = error
    return explained


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
        if wrong := [i for i in banned_ids if not 0 <= i < forward.vocabulary]:
            raise EngineError(
                f"banned id {wrong[0]} is outside the model's vocabulary of {forward.vocabulary}"
            )
        if len(set(banned_ids)) >= forward.vocabulary:
            raise EngineError("every token of the model is banned: nothing can be generated")
        self._window = forward.window
        self._vocabulary = forward.vocabulary
        self._max_batch = max_batch
        self._worker = Worker(Batch(forward, banned_ids, pad_id, max_batch, prefix_tokens), max_waiting)
        # A daemon thread inside torch while the interpreter is torn down can crash it: stop it before.
        self._stop_at_exit = weakref.finalize(self, self._worker.stop)

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncIterator[Step]:
        """Stream one reply (or `params.n`). Closing the iterator frees its place at once.

        A reply that reaches the end of the model's window ends there, with finish "length".
        """
        request = Request(self._checked(prompt_ids, params), params, asyncio.get_running_loop())
        self._worker.submit(request)
        open_replies = params.n
        try:
            while open_replies:
                letter = await request.mailbox.get()
                if isinstance(letter, EngineError):
                    raise letter
                open_replies -= letter.finish is not None
                yield letter
        finally:
            self._worker.cancel(request)

    def _checked(self, prompt_ids: Sequence[int], params: SamplingParams) -> list[int]:
        """The prompt, if it can be answered. A bad id must not reach the batch: it would fail everyone."""
        prompt = [int(i) for i in prompt_ids]
        if not prompt:
            raise EngineError("the prompt is empty: at least one token is needed")
        if len(prompt) >= self._window:
            raise EngineError(
                f"the prompt has {len(prompt)} tokens, but the model's window has {self._window} "
                f"and must hold the reply too: at most {self._window - 1} are possible"
            )
        if wrong := [i for i in prompt if not 0 <= i < self._vocabulary]:
            raise EngineError(
                f"id {wrong[0]} of the prompt is outside the model's vocabulary of {self._vocabulary}"
            )
        if params.n > self._max_batch:
            raise EngineError(
                f"{params.n} replies were asked for, but the engine makes at most {self._max_batch} at once"
            )
        return prompt

    async def close(self) -> None:
        """Stop all work and free the memory; waiting callers get an EngineError."""
        await asyncio.to_thread(self._worker.stop)
