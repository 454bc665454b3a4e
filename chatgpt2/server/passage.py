"""One request on its way through the service: what it may take, what of its answer is out, and how it ends early."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from chatgpt2.interrupt import Interruptible
from chatgpt2.server.faults import Fault, answer, body
from chatgpt2.server.streaming import event

_PLACE = "chatgpt2.passage"  # in a request's scope
_PATIENCE = 16  # times as much as is taken is read and thrown away
_LAST_WORDS = 1.0  # seconds that a client has to take what ends its request
_MOST_DIGITS = 18  # of a number that could be meant
_CLOSING = (
    408,
    413,
    503,
)  # the rest of the body is still to come, or another process may answer the next time
_CLIENT_CLOSED = 499  # nginx's number for a client that left; nobody reads it


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may take.

    body_bytes    of one request; more is answered with 413
    body_seconds  until all of it is here; 408
    seconds       until the end of the answer; 504. None: any number
    per_minute    requests of one address; 429. 0: any number
    per_key       requests a minute of a key that has no limit of its own; 429. 0: any number
    """

    body_bytes: int = 4 << 20  # a thousand long messages
    body_seconds: float = 30.0
    seconds: float | None = 300.0
    per_minute: int = 0
    per_key: int = 0


class Left(Exception):
    """The client is gone."""


class Passage(Interruptible):
    """What the application has of a request instead of the server's own `receive` and `send`. While it is entered its
    task is ended when the time is over, and, after `watch`, when the client leaves.

    status  of the answer, as soon as it has begun
    whole   all of the answer is out
    """

    __slots__ = (
        *("scope", "status", "whole", "_receive", "_send", "_limits", "_body_until", "_until"),
        *("_read", "_arrived", "_receiving", "_headers", "_watched", "_watching"),
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        super().__init__()
        self.scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self.status: int | None = None
        self.whole = self._arrived = self._receiving = False
        self._read = 0
        self._headers: Any = ()
        now = asyncio.get_running_loop().time()
        self._body_until = now + limits.body_seconds
        self._until = None if limits.seconds is None else now + limits.seconds
        self._watched = False
        self._watching: asyncio.Task[None] | None = None
        scope[_PLACE] = self

    def header(self, name: bytes) -> str:
        """The first header of this name (in small letters); "" where there is none."""
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value, "latin-1")
        return ""

    def announced(self) -> int:
        """How many bytes the request says that it has."""
        announced = self.header(b"content-length")
        if len(announced) > _MOST_DIGITS:
            return sys.maxsize
        return int(announced) if announced.isdecimal() else 0

    async def receive(self) -> Message:
        """The next of the body. A body that is too large, or a client that leaves before the end of it, ends the
        work: what raises here would be a bad request for FastAPI."""
        if self._arrived:
            return await self._receive()
        self._receiving = True
        try:
            message = await self._receive()
        finally:
            self._receiving = False
        if message["type"] == "http.disconnect":
            await self._end(Left())
        self._arrived = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._limits.body_bytes:
            await self.drain(message)
        return message

    async def send(self, message: Message) -> None:
        """Part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = message["headers"]
        elif not message.get("more_body", False):
            self.whole = True
            self.unwatch()  # once the answer is complete the client may well leave
        await self._send(message)

    def watch(self) -> None:
        """From now on the work ends when the client leaves. The body has been read."""
        self._watched = True

    def end(self) -> None:
        """All is done. What refers to itself would wait for the collector of garbage, which stops everybody."""
        self.unwatch()
        self.scope.pop(_PLACE, None)

    def unwatch(self) -> None:
        """The client may leave."""
        self._watched = False
        if self._watching is not None:
            self._watching.cancel()

    def look(self, now: float) -> None:
        """See what the time is, every now and then: whether there was too much of it, and, as most answers are out by
        then, whether it is worth while to watch the client."""
        limits = self._limits
        if self._until is not None and now >= self._until:
            self._until = None  # once
            what = f"The reply took more than {limits.seconds:g} s and was given up; nothing of it is kept."
            self.interrupt(Fault(504, what, "timeout"))
        elif self._receiving and now >= self._body_until:
            what = f"The request did not come within {limits.body_seconds:g} s."
            self.interrupt(Fault(408, what, "request_timeout"))
        elif self._watched and self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        # A body that nobody has read is read here, and not more of it than of others.
        while (await (self._receive if self._arrived else self.receive)())["type"] != "http.disconnect":
            pass
        self.interrupt(Left())

    async def _end(self, reason: Exception) -> None:
        """Have the work interrupted, here."""
        loop = asyncio.get_running_loop()
        loop.call_soon(self.interrupt, reason)
        await loop.create_future()

    async def drain(self, message: Message | None = None) -> None:
        """End the work, for there is too much. The rest is let go of, as a client that is still sending does not see
        the answer; not without end, though."""
        self._arrived, most = True, self._limits.body_bytes
        left, message = _PATIENCE * most, message or {"more_body": True}
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._body_until):
                while message.get("more_body") and left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
        what = f"The request is too large: at most {most / (1 << 20):.3g} MB are taken."
        await self._end(Fault(413, what, "request_too_large"))

    async def refuse(self, fault: Fault) -> None:
        """Say why there is no answer, or no more of it, where that is still possible; what cannot be ended well
        breaks off, as does what a client does not take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                if self.status is None:
                    refusal = answer(fault)
                    if fault.status in _CLOSING:
                        refusal.headers["Connection"] = "close"
                    await refusal(self.scope, self.receive, self.send)
                elif not self.whole and self._streams():
                    last = event(body(fault))
                    await self.send({"type": "http.response.body", "body": last, "more_body": False})

    def _streams(self) -> bool:
        kind: bytes = dict(self._headers).get(b"content-type", b"")
        return kind.startswith(b"text/event-stream")

    async def lost(self) -> None:
        """The client left: where no answer has begun, note that for whoever counts or writes a log."""
        if self.status is None:
            await self.send({"type": "http.response.start", "status": _CLIENT_CLOSED, "headers": []})
            await self.send({"type": "http.response.body", "body": b""})


def passage_of(request: HTTPConnection) -> Passage:
    """The way that a request takes."""
    found: Any = request.scope[_PLACE]
    assert isinstance(found, Passage)
    return found
