"""How requests end: in time, and before the service does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatgpt2.server.faults import Fault, answer, body
from chatgpt2.server.leaving import event

HEALTH = frozenset({"/healthz", "/readyz", "/metrics"})  # asked for by those who look after the service

_RETRY_SECONDS = 5  # about what a start takes
_LAST_WORDS = 1.0  # seconds that a client has to take the event that ends its stream


class Ongoing:
    """The requests that are being answered.

    seconds  that each may take; None: any number
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._limits: set[asyncio.Timeout] = set()
        self._none_left = asyncio.Event()
        self.stopping = self._cut = False

    @contextmanager
    def counted(self) -> Iterator[asyncio.Timeout]:
        """The time that a request has, to be entered."""
        limit = asyncio.timeout(self._seconds)
        self._limits.add(limit)
        try:
            yield limit
        finally:
            self._limits.discard(limit)
            self._note_end()

    def stop(self) -> None:
        """Take no new requests."""
        self.stopping = True
        self._note_end()

    def _note_end(self) -> None:
        if self.stopping and not self._limits:
            self._none_left.set()

    async def finished(self, grace: float) -> None:
        """Wait for those that are running; what is not done after `grace` seconds is cut off."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._none_left.wait()
                return
        self.cut()
        await self._none_left.wait()

    def cut(self) -> None:
        """End what is running now."""
        self._cut = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)

    def why(self) -> Fault:
        """What is told to those whose time is over."""
        if self._cut:
            return _stopping()
        what = f"The reply took more than {self._seconds:g} s and was given up; nothing of it is kept."
        return Fault(504, what, "timeout")


def _stopping() -> Fault:
    return Fault(503, "The service is stopping: try again soon.", "stopping", retry_after=_RETRY_SECONDS)


class Timed:
    """Middleware that ends answers whose time is over, and begins none when the service stops."""

    def __init__(self, app: ASGIApp, ongoing: Ongoing) -> None:
        self._app, self._ongoing = app, ongoing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (self._ongoing.stopping and scope["path"] in HEALTH):
            await self._app(scope, receive, send)
            return
        if self._ongoing.stopping:
            refusal = answer(_stopping())
            refusal.headers["Connection"] = "close"  # the next attempt may reach another process
            await refusal(scope, receive, send)
            return
        sent = _Sent(send)
        with self._ongoing.counted() as limit:
            try:
                async with limit:
                    await self._app(scope, receive, sent)
            except TimeoutError:
                if not limit.expired():
                    raise
                await sent.end(self._ongoing.why(), scope, receive)


class _Sent:
    """What of an answer has gone out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._kind: bytes | None = None
        self._whole = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._kind = dict(message["headers"]).get(b"content-type", b"")
        elif message["type"] == "http.response.body":
            self._whole = not message.get("more_body", False)
        await self._send(message)

    async def end(self, fault: Fault, scope: Scope, receive: Receive) -> None:
        """Say why, where that is still possible; what cannot be ended well breaks off."""
        if self._kind is None:
            await answer(fault)(scope, receive, self._send)
        elif self._kind.startswith(b"text/event-stream") and not self._whole:
            with suppress(TimeoutError):  # a client that takes nothing more
                async with asyncio.timeout(_LAST_WORDS):
                    last = event(body(fault)).encode()
                    await self._send({"type": "http.response.body", "body": last, "more_body": False})
