"""A Telegram bot between the fake Bot API and a little inbox."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fakes.telegram import FakeTelegram

from chatgpt2.adapter import Command, Inbound, Inbox, Reply, Services, State
from chatgpt2.bots.telegram import Telegram, build
from chatgpt2.errors import StoreError


class Box(Inbox):
    """Keeps what is submitted, each once; `broken`: the database is gone."""

    def __init__(self) -> None:
        self.got: list[Inbound] = []
        self.seen = 0
        self.broken = False
        self._changed = asyncio.Condition()

    async def submit(self, inbound: Inbound) -> bool:
        if self.broken:
            raise StoreError("the database is gone")
        new = all(inbound.message_id != each.message_id for each in self.got)
        self.seen += not new
        async with self._changed:
            self.got += [inbound] if new else []
            self._changed.notify_all()
        return new

    async def first(self, count: int) -> list[Inbound]:
        """Wait until there are so many."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: len(self.got) >= count), 30)
        return self.got[:count]

    async def one(self) -> Inbound:
        """The next one, which is taken out."""
        await self.first(1)
        return self.got.pop(0)


class Kept(State):
    """What a bot remembers, as JSON."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def get(self, key: str) -> Any:
        return json.loads(self.values.get(key, "null"))

    async def set(self, key: str, value: Any, *, of: Inbound | None = None) -> None:
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = json.dumps(value)

    async def all(self, prefix: str = "") -> Mapping[str, Any]:
        return {key: json.loads(value) for key, value in self.values.items() if key.startswith(prefix)}


@dataclass
class Rig:
    """One bot's surroundings; they outlive it, as a database does."""

    fake: FakeTelegram
    client: httpx.AsyncClient
    server: AsyncExitStack
    box: Box = field(default_factory=Box)
    kept: Kept = field(default_factory=Kept)
    now: float = 1_790_000_000.0
    commands: Sequence[Command] = ()

    def build(self, **settings: Any) -> Telegram:
        log = logging.getLogger("chatgpt2.bots.telegram")
        services = Services(self.client, self.kept, lambda: self.now, log, self.commands)
        bot = build({"token": self.fake.token, "base-url": self.fake.url, **settings}, services)
        assert isinstance(bot, Telegram)
        return bot

    async def started(self, **settings: Any) -> Telegram:
        bot = self.build(**settings)
        await bot.start(self.box)
        return bot

    @asynccontextmanager
    async def polling(self, **settings: Any) -> AsyncIterator[Telegram]:
        bot = await self.started(**settings)
        running = asyncio.create_task(bot.run())
        try:
            # It has told what it wants to hear of when it asks for the first time.
            await self.fake.until(lambda: any(method == "getUpdates" for method, _ in self.fake.calls))
            yield bot
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await bot.stop()

    async def heard(self, *message: Any, **fields: Any) -> tuple[Telegram, Inbound, Reply]:
        """A bot, what somebody said to it, and the way back."""
        async with self.polling() as bot:
            self.fake.say(*message, **fields)
            inbound = await self.box.one()
        return bot, inbound, bot.open_reply(inbound)


@asynccontextmanager
async def rigged(**options: Any) -> AsyncIterator[Rig]:
    async with httpx.AsyncClient() as client, AsyncExitStack() as server:
        yield Rig(await server.enter_async_context(FakeTelegram(**options).running()), client, server)
