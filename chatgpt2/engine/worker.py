"""The thread behind an engine: callers queue, one thread steps a batch, tokens go to the callers' event loops.

`answer` puts a request into a queue and waits at its mailbox; the thread takes requests into the running batch,
steps it, and hands the tokens of each step over. The work never blocks an event loop, and callers from several
loops (or one `asyncio.run` after another) share the batch.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.engine.line import Line, Mailbox
from chatgpt2.errors import EngineBusy, EngineError

# Prompt tokens read per step before the running replies get their next token: what limits how long a
# crowd of newcomers can hold up those who are being answered.
PROMPT_TOKENS_PER_STEP = 512
_EXIT_SECONDS = 10  # how long leaving the interpreter waits for the step in progress


@dataclass(eq=False, slots=True)
class Request:
    """What one caller asked for, and where its answer goes."""

    prompt: list[int]
    params: SamplingParams
    line: Line
    mailbox: Mailbox = field(default_factory=asyncio.Queue)


Event = tuple[Request, Step]
Answer = tuple[Request, Step | EngineError]


class Stepper(Protocol):
    """The running batch as the thread sees it, and no other thread."""

    def __len__(self) -> int:
        """Replies in the making."""
        ...

    @property
    def room(self) -> int:
        """Replies that may still join."""
        ...

    def requests(self) -> set[Request]:
        """The requests that have a reply in the making."""
        ...

    def join(self, request: Request) -> int:
        """Take the request in; the number of prompt tokens that this made the engine read."""
        ...

    def step(self) -> list[Event]:
        """New tokens of all replies. Finished replies have left when it returns."""
        ...

    @property
    def quick(self) -> bool:
        """Whether a join is no work now, so that a caller's thread may do it while no step is running."""
        ...

    def begin(self) -> None:
        """Start on what has joined, if that takes no step."""
        ...

    def nudge(self) -> None:
        """Somebody came or left: a step that gathers tokens is to return soon. Called by other threads."""
        ...

    def drop(self, request: Request) -> None:
        """Let go of a request whose caller went away."""
        ...

    def clear(self) -> None:
        """Forget everything, as after a failed step."""
        ...


class Worker:
    """The thread that steps the batch. It does not know its engine, so that an engine nobody holds can go."""

    def __init__(self, batch: Stepper, max_waiting: int) -> None:
        self._batch = batch  # touched by the thread only, but for `nudge` and `room`
        self._max_waiting = max_waiting
        self._changed = threading.Condition()  # guards everything below
        self._waiting: deque[Request] = deque()
        self._running: set[Request] = set()
        self._dropped: list[Request] = []
        self._stepping = False  # and nobody has nudged yet
        self._resting = False  # the thread waits for work
        self._closing = False
        self._lines: WeakValueDictionary[int, Line] = WeakValueDictionary()  # by the id of the loop
        self._thread: threading.Thread | None = None

    async def answer(self, prompt: list[int], params: SamplingParams, engine: object) -> AsyncGenerator[Step]:
        """Queue a request and stream its replies. Closing the iterator frees their places at once.

        `engine` is held until the end: one that nobody holds any more ends its thread.
        """
        request = Request(prompt, params, self._line())
        self.submit(request)
        open_replies = params.n
        try:
            while open_replies:
                letter = await request.mailbox.get()
                if isinstance(letter, EngineError):
                    raise letter
                open_replies -= letter.finish is not None
                yield letter
        finally:
            self.cancel(request)

    def _line(self) -> Line:
        loop = asyncio.get_running_loop()
        with self._changed:
            line = self._lines.get(id(loop))
            if line is None:
                line = self._lines[id(loop)] = Line(loop)
            return line

    def check(self) -> None:
        """Raise EngineError when nothing can be queued any more."""
        if self._closing:
            raise EngineError("the engine is closed")

    def submit(self, request: Request) -> None:
        """Queue a request; the thread starts with the first one."""
        with self._changed:
            self.check()
            if len(self._waiting) >= self._max_waiting:
                raise EngineBusy(
                    f"the engine is busy: {len(self._waiting)} requests are waiting, try again later"
                )
            self._waiting.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="chatgpt2-engine", daemon=True)
                self._thread.start()
            resting = self._resting
        if resting:  # once all who ask at the same time have asked
            request.line.soon(self._begin)
        else:
            self._look()

    def _begin(self) -> None:
        """Take in who waits, here and now, where that is quicker than to wake the thread first."""
        with self._changed:
            if self._resting and self._waiting and self._batch.quick:
                try:
                    self._admit()
                    self._batch.begin()
                except Exception as error:  # as in the thread: it belongs to the callers
                    self._fail(error)
                self._changed.notify()
        self._look()

    def _look(self) -> None:
        if self._batch.room:  # else a newcomer waits for a reply to end, which is told at once
            self._nudge()

    def cancel(self, request: Request) -> None:
        """The caller went away: free the request's place. Nothing happens when it is finished."""
        with self._changed:
            if request not in self._running:
                if request in self._waiting:
                    self._waiting.remove(request)
                return
            self._dropped.append(request)
        self._nudge()

    def _nudge(self) -> None:
        """Have the thread look at who came and who left."""
        with self._changed:
            self._changed.notify()
            stepping, self._stepping = self._stepping, False
        if stepping:
            self._batch.nudge()

    def stop(self) -> None:
        """End the thread after the step in progress and wait for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is None:  # nobody ever asked
            self._batch.clear()
        elif thread is not threading.current_thread():
            thread.join(_EXIT_SECONDS)

    def _work(self) -> None:
        while self._wait():
            try:
                self._turn()
            except Exception as error:  # whatever the step raises belongs to the callers; the thread goes on
                self._fail(error)
        with suppress(Exception):
            self._batch.clear()
        with self._changed:
            left = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        self._post((request, EngineError("the engine was closed")) for request in left)

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when the engine closes."""
        with self._changed:
            self._stepping, self._resting = False, True
            self._changed.wait_for(lambda: self._closing or self._waiting or self._dropped or self._running)
            self._resting = False
            return not self._closing

    def _turn(self) -> None:
        """Let go of the cancelled, take in newcomers, give everyone a token."""
        with self._changed:
            self._stepping = True
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
        while read < PROMPT_TOKENS_PER_STEP and (request := self._next()):
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
        with self._changed:
            failed = list(self._running)
            self._running.clear()
        self._post((request, _explained(error)) for request in failed)
        try:
            self._batch.clear()
        except Exception:  # nothing can be answered any more, and everyone is told so
            with self._changed:
                self._closing = True

    def _post(self, answers: Iterable[Answer]) -> None:
        """Send answers out, bundled by event loop, since each call into one costs a wake-up."""
        by_line: defaultdict[Line, list[Answer]] = defaultdict(list)
        for answer in answers:
            by_line[answer[0].line].append(answer)
        for line, bundle in by_line.items():
            try:
                line.send([(request.mailbox, content) for request, content in bundle])
            except RuntimeError:  # the loop was closed under its callers: nobody is there to read
                for request, _ in bundle:
                    self.cancel(request)


def _explained(error: Exception) -> EngineError:
    """An error of its own for each caller: exceptions carry a traceback, which callers must not share."""
    what = " ".join(str(error).split())  # OpenVINO's errors have several lines
    what = what if isinstance(error, EngineError) else f"{type(error).__name__}: {what}"
    explained = EngineError(f"the reply could not be generated: {what}")
    explained.__cause__ = error
    return explained
