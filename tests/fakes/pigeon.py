"""Pigeon, the platform of docs/adapters.md, without a network."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from chatgpt2.adapter import Adapter, Services, find, length
from chatgpt2.adapter.testing import Call, Refusal

TOKEN = "coo"


class Pigeon:
    """The chats as people see them; updates stay until their cursor moves on."""

    groups = True

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.messages: list[dict[str, str]] = []
        self.refusals: list[Refusal] = []

    def build(self, services: Services) -> Adapter:
        """The installed adapter."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        build = find("pigeon").build
        assert build is not None
        return build({"token": TOKEN}, Services(client, services.state, services.clock, services.log))

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
        said = {
            "chat": chat,
            "user": "u",
            "message": str(message_id),
            "text": text,
            "sent": float(message_id),
        }
        self.updates.append({"id": len(self.updates) + 1, **said, "group": group, "mentions_me": addressed})

    def seen(self, chat: str = "1") -> list[str]:
        return [message["text"] for message in self.messages if message["chat"] == chat]

    def keys(self) -> set[str]:
        """The pieces that have come, however often."""
        return {message["key"] for message in self.messages}

    def refuse(self, how: Refusal) -> None:
        self.refusals.append(how)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return httpx.Response(401)
        if request.url.path == "/me":
            return httpx.Response(200, json={"name": "coo_bot"})
        if request.url.path == "/updates":
            return await self._poll(int(request.url.params["after"]))
        if self.refusals:
            later = self.refusals.pop(0) == "later"
            return httpx.Response(429, headers={"Retry-After": "0"}) if later else httpx.Response(403)
        message = json.loads(request.content)
        assert 0 < length(message["text"], "utf16") <= 500
        self.messages.append(message)
        return httpx.Response(200, json={"id": len(self.messages)})

    async def _poll(self, after: int) -> httpx.Response:
        for _ in range(10):
            if len(self.updates) > after:
                break
            await asyncio.sleep(0.01)
        return httpx.Response(200, json={"updates": self.updates[after:]})


@contextmanager
def flying(pigeon: Pigeon) -> Iterator[str]:
    """The platform on loopback; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = f"http://pigeon.test{self.path}"
            asked = httpx.Request(self.command, url, headers=dict(self.headers), content=body)
            with lock:
                answer = asyncio.run(pigeon.answer(asked))
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that was killed is nothing to tell of."""

    lock = threading.Lock()
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def wait_until(what: Callable[[], bool], patience: float = 120) -> None:
    """Wait for it, generously."""
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
