"""How large a request may be. It is refused before it is read, whoever sends it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatgpt2.server.faults import Fault, answer

MOST_BYTES = 4 << 20  # a thousand long messages
_PATIENCE = 16  # times as much is read and thrown away


class _TooLarge(Exception):
    """More came than was announced, or allowed."""


class Limited:
    """Middleware that answers 413 to a body of more than `most` bytes."""

    def __init__(self, app: ASGIApp, most: int = MOST_BYTES) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        read, begun = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                await _drain(receive, message, self._most)
                raise _TooLarge
            return message

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            if read > self._most and message["type"] == "http.response.start":  # FastAPI made a 400 of it
                message["status"] = 413
            await send(message)

        try:
            if announced.isdigit() and int(announced) > self._most:
                await _drain(receive, {"more_body": True}, self._most)
                raise _TooLarge
            await self._app(scope, counted, noting)
        except _TooLarge:
            if not begun:
                what = f"The request is too large: at most {self._most >> 20} MB are taken."
                refusal = answer(Fault(413, what, "request_too_large"))
                refusal.headers["Connection"] = "close"
                await refusal(scope, receive, send)


async def _drain(receive: Receive, message: Message, most: int) -> None:
    """Let go of the rest: a client that is still sending does not see the answer. Not without end, though."""
    left = _PATIENCE * most
    while message.get("more_body") and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
