"""An adapter of a platform that exists in memory only, and a gateway around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fakes.talking import Letters, Scripted

from chatgpt2.adapter import Adapter, Health, Inbound, Inbox, Limits, Reply
from chatgpt2.chat import ChatService
from chatgpt2.engine.base import SamplingParams
from chatgpt2.gateway import Bot, Gateway, Rules
from chatgpt2.serving import Serving
from chatgpt2.store import SessionStore

QUIET = Rules(notice="")


class Way(Reply):
    def __init__(self, adapter: Memory, inbound: Inbound) -> None:
        self.adapter, self.inbound = adapter, inbound

    async def typing(self, on: bool) -> None:
        self.adapter.seen.append(("typing", str(on)))

    async def preview(self, text_so_far: str) -> None:
        self.adapter.seen.append(("preview", text_so_far))
        self.adapter.news.set()

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        if self.adapter.faults:
            fault = self.adapter.faults.pop(0)
            if fault is not None:
                raise fault
        self.adapter.sent.append((self.inbound.message_id, chunk))
        self.adapter.feedback_ids.append(feedback_id)
        self.adapter.news.set()
        return f"p{len(self.adapter.sent)}"

    async def close(self) -> None:
        self.adapter.closed += 1


class Memory(Adapter):
    name, account = "memory", "me"

    def __init__(self, limits: Limits = Limits(1000)) -> None:  # noqa: B008
        self.limits = limits
        self.sent: list[tuple[str, str]] = []
        self.seen: list[tuple[str, str]] = []
        self.feedback_ids: list[str | None] = []
        self.faults: list[Exception | None] = []
        self.closed = 0
        self.news = asyncio.Event()
        self.inbox: Inbox
        self.runs: list[Exception | None] = []
        self.starts: list[Exception] = []
        self.running = self.stopped = 0

    async def start(self, inbox: Inbox) -> None:
        if self.starts:
            raise self.starts.pop(0)
        self.inbox = inbox

    async def run(self) -> None:
        self.running += 1
        self.news.set()
        if self.runs:
            fault = self.runs.pop(0)
            if fault is None:
                return
            raise fault
        await asyncio.Event().wait()

    def health(self) -> Health:
        return Health()

    def open_reply(self, inbound: Inbound) -> Reply:
        return Way(self, inbound)

    async def stop(self) -> None:
        self.stopped += 1

    def event(self, number: int, text: str = "你好", **others: Any) -> Inbound:
        facts = {"chat_id": "c", "user_id": "u", **others}
        return Inbound("memory", "me", message_id=f"m{number}", text=text, **facts)

    async def until(self, what: Callable[[], Any]) -> None:
        """Wait until it is so."""
        async with asyncio.timeout(60):
            while not what():
                self.news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.news.wait(), 0.05)


@asynccontextmanager
async def gateway_of(
    url: str, engine: Scripted, *adapters: Memory, rules: Rules = QUIET, grace: float = 5, **more: Any
) -> AsyncIterator[Gateway]:
    async with await SessionStore.open(url) as store:
        service = ChatService(Serving(engine, Letters(), SamplingParams(seed=1)), store)
        bots = []
        for number, adapter in enumerate(adapters):
            bots.append(Bot(f"b{number}", adapter, rules))
        gateway = Gateway(service, store, bots, **more)
        async with gateway.running(grace):
            async with asyncio.timeout(30):
                for bot in bots:
                    if not bot.adapter.starts:  # type: ignore[attr-defined]
                        await bot.ready.wait()
            yield gateway
