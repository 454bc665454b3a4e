"""Any program as a chat platform: it posts messages as JSON, and the answers are posted to it.

In:  POST /bots/NAME/messages  {"id", "chat", "user", "text"} and, if need be, "kind", "group", "addressed", "thread",
     "about", "sent": see chatgpt2.adapter.Inbound
Out: POST callback_url         {"id", "chat", "thread", "text", "index", "final", "feedback_id"} → {"id"?}

Both carry X-Signature: the hexadecimal HMAC-SHA256 of the body with the secret. `id` of an answer is "MESSAGE:INDEX",
the same when it is sent again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from chatgpt2.adapter import (
    Adapter,
    AdapterError,
    Blocked,
    Health,
    Inbound,
    Inbox,
    Limits,
    Rejected,
    Reply,
    Request,
    Response,
    RetryLater,
    Route,
    Services,
    WindowClosed,
    read_settings,
)

_LARGEST = 64 << 10  # bytes of a message
_PATIENCE = 20.0  # seconds for the callback to answer
_PAUSE = 5.0  # seconds, when a 429 does not say
_KINDS = ("text", "feedback", "stop", "unsupported")


@dataclass(frozen=True, slots=True)
class Settings:
    """`max_length`: characters of one answer; a longer one is sent in pieces."""

    callback_url: str
    secret: str
    account: str = "default"
    max_length: int = 2000


def build(settings: Mapping[str, Any], services: Services) -> Adapter:
    """The entry point."""
    return Webhook(read_settings(Settings, settings), services)


class Webhook(Adapter):
    """A bot that a program of yours talks to."""

    name = "webhook"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.account, self.limits = settings.account, Limits(settings.max_length)
        self._settings, self._services = settings, services
        self._inbox: Inbox | None = None
        self._last: float | None = None
        self._refused: str | None = None  # what came in and was not taken
        self._failed: str | None = None  # what was to go out and did not

    async def start(self, inbox: Inbox) -> None:
        """Nothing to check: the first callback will tell."""
        self._inbox = inbox

    def routes(self) -> Sequence[Route]:
        """Where messages are posted."""
        return [Route("POST", "/messages", self._receive)]

    def health(self) -> Health:
        """When the program was last heard of, and what went wrong since."""
        return Health(self._last, self._refused or self._failed)

    def open_reply(self, inbound: Inbound) -> Reply:
        """The callback."""
        return _Answer(inbound, self)

    async def post(self, body: bytes) -> bytes:
        """Hand an answer to the callback; what it says. Raises what Reply.send does."""
        headers = {"Content-Type": "application/json", "X-Signature": sign(body, self._settings.secret)}
        try:
            answer = await self._services.http.post(
                self._settings.callback_url, content=body, headers=headers, timeout=_PATIENCE
            )
            _check(answer.status_code, answer.headers.get("retry-after", ""))
        except (Blocked, Rejected, WindowClosed):  # that is about one chat
            self._failed = None
            raise
        except (AdapterError, httpx.HTTPError) as error:
            self._failed = f"the callback: {type(error).__name__}: {error}"
            raise
        self._failed = None
        return answer.content

    async def _receive(self, request: Request) -> Response:
        if len(request.body) > _LARGEST:
            return Response(413)
        given = request.headers.get("x-signature", "")
        if not hmac.compare_digest(given.encode(), sign(request.body, self._settings.secret).encode()):
            self._refused = "a message was refused: X-Signature is not the HMAC-SHA256 of the body"
            return Response(403, b"X-Signature is not the HMAC-SHA256 of the body")
        try:
            inbound = self._read(json.loads(request.body))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._refused = f"a message cannot be read: {type(error).__name__}"
            return Response(400, f"this is no message: {error!r}".encode())
        self._last, self._refused = self._services.clock(), None
        assert self._inbox is not None
        new = await self._inbox.submit(inbound)
        return Response(200, json.dumps({"new": new}).encode(), "application/json")

    def _read(self, said: Mapping[str, Any]) -> Inbound:
        kind = said.get("kind", "text")
        if kind not in _KINDS:
            raise ValueError(f"kind is one of {', '.join(_KINDS)}")
        return Inbound(
            *(self.name, self.account, _text(said["chat"]), _text(said["user"]), _text(said["id"])),
            text=_text(said.get("text", "")),
            kind=kind,
            is_group=bool(said.get("group", False)),
            addressed=bool(said.get("addressed", True)),
            thread_id=_text(said.get("thread", "")),
            about=_text(said.get("about", "")),
            sent_at=None if said.get("sent") is None else float(said["sent"]),
        )


class _Answer(Reply):
    def __init__(self, inbound: Inbound, adapter: Webhook) -> None:
        self._inbound, self._adapter = inbound, adapter

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        name = f"{self._inbound.message_id}:{index}"
        said: dict[str, Any] = {
            "id": name,
            "chat": self._inbound.chat_id,
            "thread": self._inbound.thread_id,
            "text": chunk,
        }
        said |= {"index": index, "final": final, "feedback_id": feedback_id}
        return _platform_id(await self._adapter.post(json.dumps(said, ensure_ascii=False).encode())) or name


def _check(status: int, retry_after: str) -> None:
    """What the callback's status says of the answer."""
    if status < 300:
        return
    if status in (429, 503):
        raise RetryLater(float(retry_after) if retry_after.isdigit() else _PAUSE)
    if status in (400, 413, 422):
        raise Rejected(f"the callback does not take this answer ({status})")
    if status in (403, 404):
        raise Blocked(f"the callback knows no such chat ({status})")
    if status == 410:
        raise WindowClosed("the callback takes no answer to this message any more (410)")
    raise AdapterError(f"the callback answered {status}")


def _platform_id(body: bytes) -> str:
    try:
        return _text(json.loads(body)["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _text(value: Any) -> str:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{value!r} is no text")


def sign(body: bytes, secret: str) -> str:
    """The signature of a body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
