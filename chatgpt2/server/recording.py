"""Requests and what was said in the log, where that is asked for."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Not what was said: what is typed in to log a bot in is as good as a password.
_PRIVATE = "/api/admin"
_MOST = 1 << 20  # bytes of each side
_JSON, _EVENTS = b"application/json", b"text/event-stream"


class Recorded:
    """Middleware that writes a line for each request: method, path, status, seconds, and the texts of both sides."""

    def __init__(self, app: ASGIApp, write: Callable[[str], object]) -> None:
        self._app, self._write = app, write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked, answered, began = bytearray(), bytearray(), time.monotonic()
        status, kind = 500, b""

        async def listening() -> Message:
            message = await receive()
            asked.extend(message.get("body", b"")[: _MOST - len(asked)])
            return message

        async def telling(message: Message) -> None:
            nonlocal status, kind
            if message["type"] == "http.response.start":
                status, kind = message["status"], dict(message["headers"]).get(b"content-type", b"")
            elif kind.startswith((_JSON, _EVENTS)):
                answered.extend(message.get("body", b"")[: _MOST - len(answered)])
            await send(message)

        try:
            await self._app(scope, listening, telling)
        finally:
            path = scope["path"]
            texts = (
                ("", "")
                if path.startswith(_PRIVATE)
                else (_plain(bytes(asked)), _told(bytes(answered), kind))
            )
            seconds = f"{time.monotonic() - began:.3f} s"
            self._write(
                " ".join(filter(None, (scope["method"], json.dumps(path), str(status), seconds, *texts)))
            )


def _plain(body: bytes) -> str:
    """JSON on one line, as people read it; what is no JSON as a string."""
    text = body.decode(errors="replace")
    try:
        return json.dumps(json.loads(text), ensure_ascii=False) if text else ""
    except ValueError:
        return json.dumps(text, ensure_ascii=False)


def _told(body: bytes, kind: bytes) -> str:
    """What was answered; of a stream the texts that it came to."""
    if not kind.startswith(_EVENTS):
        return _plain(body)
    texts: defaultdict[int, str] = defaultdict(str)
    for line in body.decode(errors="replace").splitlines():
        if not (line.startswith("data: {") and line.endswith("}")):
            continue
        event = json.loads(line.removeprefix("data: "))
        if "choices" not in event:  # a session's: the text so far, or an error
            texts[0] = event.get("text") or json.dumps(event, ensure_ascii=False)
        for choice in event.get("choices", ()):
            texts[choice["index"]] += choice.get("text") or choice.get("delta", {}).get("content") or ""
    return json.dumps(list(texts.values()), ensure_ascii=False)
