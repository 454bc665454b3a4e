"""How much a request may take: bytes and seconds. It is refused before it is read, whoever sends it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatgpt2.server.faults import Fault, answer

_PATIENCE = 16  # times as much is read and thrown away


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


class Limited:
    """Middleware that refuses a body that is too large or comes too slowly."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reading = _Reading(receive, send, self._limits)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limits.body_bytes:
            await reading.drain({"more_body": True})
        else:
            with suppress(_Refused):
                await self._app(scope, reading.receive, reading.send)
        if reading.refusal is not None:
            refusal = answer(reading.refusal)
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)


class _Refused(Exception):
    """The body is not read to its end."""


class _Reading:
    """The reading of one body. What the application makes of a refusal is not sent: FastAPI makes a 400 of any."""

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._until = asyncio.get_running_loop().time() + limits.body_seconds
        self._read, self._done = 0, False
        self.refusal: Fault | None = None

    async def send(self, message: Message) -> None:
        if self.refusal is None:
            await self._send(message)

    async def receive(self) -> Message:
        if self._done:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            what = f"The request did not come within {self._limits.body_seconds:g} s."
            self.refusal = Fault(408, what, "request_timeout")
            raise _Refused from None
        self._done = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._limits.body_bytes:
            await self.drain(message)
            raise _Refused
        return message

    async def drain(self, message: Message) -> None:
        """Let go of the rest: a client that is still sending does not see the answer. Not without end, though."""
        most = self._limits.body_bytes
        what = f"The request is too large: at most {most / (1 << 20):.3g} MB are taken."
        self.refusal = Fault(413, what, "request_too_large")
        left = _PATIENCE * most
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._until):
                while message.get("more_body") and left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
