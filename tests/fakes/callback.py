"""A program on the other side of the webhook bot: it signs what it posts, and checks what it is sent."""

from __future__ import annotations

import json
from typing import Any

import httpx

from chatgpt2.adapter import Adapter, Request, Services
from chatgpt2.adapter.testing import Call, Refusal
from chatgpt2.bots.webhook import build, sign

SECRET = "s3cret"
URL = "http://callback.test/answers"


class Callback:
    """The chats as people see them. `statuses`: what the next answers are refused with."""

    groups = True

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.statuses: list[int] = []

    def build(self, services: Services) -> Adapter:
        """The adapter, calling this program without a network."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        kept = Services(client, services.state, services.clock, services.log)
        return build({"callback_url": URL, "secret": SECRET, "max_length": 100}, kept)

    async def say(
        self,
        text: str,
        message_id: int,
        *,
        chat: str = "1",
        group: bool = False,
        addressed: bool = True,
        call: Call,
    ) -> None:
        await self._post(message_id, chat, call, text=text, group=group, addressed=addressed)

    async def show(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        """Somebody sends a picture."""
        await self._post(message_id, chat, call, kind="unsupported")

    async def like(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        """Somebody likes the last answer."""
        about = self.got[-1]["feedback_id"]
        await self._post(message_id, chat, call, kind="feedback", text="up", about=about)

    def seen(self, chat: str = "1") -> list[str]:
        return [each["text"] for each in self.got if each["chat"] == chat]

    def refuse(self, how: Refusal) -> None:
        self.statuses.append({"later": 429, "closed": 410}[how])

    async def _post(self, message_id: int, chat: str, call: Call, **fields: Any) -> None:
        body = json.dumps({"id": message_id, "chat": chat, "user": "u", **fields}).encode()
        answer = await call("POST", "/messages", Request({}, {"x-signature": sign(body, SECRET)}, body))
        assert answer.status == 200, answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = request.content
        assert str(request.url) == URL and request.headers["X-Signature"] == sign(body, SECRET)
        if self.statuses:
            return httpx.Response(self.statuses.pop(0), headers={"Retry-After": "0"})
        said = json.loads(body)
        assert len(said["text"]) <= 100
        self.got.append(said)
        return httpx.Response(200, json={"id": len(self.got)})
