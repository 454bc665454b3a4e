"""What an adapter is given, small: an inbox that remembers, a state that outlives the adapter."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from chatgpt2.adapter import Adapter, Inbound, Request, Response, Services


class Memory:
    """A state of JSON values."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def get(self, key: str) -> Any:
        return json.loads(self.kept.get(key, "null"))

    async def set(self, key: str, value: Any, *, of: Inbound | None = None) -> None:
        self.kept[key] = json.dumps(value)
        if value is None:
            del self.kept[key]

    async def all(self, prefix: str = "") -> Mapping[str, Any]:
        return {key: json.loads(value) for key, value in self.kept.items() if key.startswith(prefix)}


class Notebook:
    """An inbox. Whoever wants to answer what comes gives `answer`; it runs beside the adapter."""

    def __init__(self, answer: Callable[[Inbound], Any] | None = None) -> None:
        self.got: list[Inbound] = []
        self.failing: Exception | None = None
        self._answer, self._changed = answer, asyncio.Event()
        self.tasks: list[asyncio.Task[Any]] = []

    async def submit(self, inbound: Inbound) -> bool:
        if self.failing:
            raise self.failing
        if any(inbound.message_id == other.message_id for other in self.got):
            return False
        # What is kept has been JSON in between.
        self.got.append(Inbound(**{**_plain(inbound), "reply_to": json.loads(json.dumps(inbound.reply_to))}))
        self._changed.set()
        if self._answer is not None:
            self.tasks.append(asyncio.ensure_future(self._answer(self.got[-1])))
        return True

    async def count(self, number: int) -> list[Inbound]:
        """Wait until so many have come."""
        async with asyncio.timeout(30):
            while len(self.got) < number:
                self._changed.clear()
                await self._changed.wait()
        return self.got


async def say(adapter: Adapter, inbound: Inbound, *chunks: str, feedback_id: str | None = None) -> list[str]:
    """Answer as the gateway does; gives the platform's ids."""
    reply, last = adapter.open_reply(inbound), len(chunks) - 1
    try:
        return [
            await reply.send(chunk, index=index, final=index == last, feedback_id=feedback_id)
            for index, chunk in enumerate(chunks)
        ]
    finally:
        await reply.close()


def services(http: httpx.AsyncClient, state: Memory, clock: Callable[[], float] = time.time) -> Services:
    return Services(http, state, clock, logging.getLogger("chatgpt2.bots.test"))


def door(http: httpx.AsyncClient, address: str, method: str = "POST") -> Callable[[Request], Any]:
    """Calls a webhook over HTTP."""

    async def call(request: Request) -> Response:
        answer = await http.request(
            method, address, params=request.query, content=request.body, headers=request.headers, timeout=30
        )
        return Response(answer.status_code, answer.content, answer.headers.get("content-type", ""))

    return call


def _plain(inbound: Inbound) -> dict[str, Any]:
    return {name: getattr(inbound, name) for name in Inbound.__slots__}
