"""What a line typed in the terminal means: something said, or a command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from chatgpt2.bots.terminal import Leave, Note
from chatgpt2.chat import ChatService
from chatgpt2.commands import SHARED, Command, Order, obey, read_order
from chatgpt2.errors import CheckpointError, ConfigError, EngineError, StoreError
from chatgpt2.serving import Serving
from chatgpt2.store import SessionKey, SessionStore

COMMANDS = (
    *SHARED,
    Command("session", ("会话",), "名称", "换到另一个会话（没有就新开）"),
    Command("model", ("模型",), "目录", "换一个模型，接着聊"),
    Command("quit", ("退出", "exit"), "", "离开"),
)
WORDS = {name: each.meaning for each in COMMANDS for name in (each.name, *each.aliases)}

_LONGEST_NAME = 100


class Conversation:
    """Which session the person is in. The service may still be on its way: loading a model takes seconds."""

    def __init__(
        self,
        service: asyncio.Task[ChatService],
        store: SessionStore,
        key: SessionKey,
        load: Callable[[str], Awaitable[Serving]],
    ) -> None:
        self._service = service
        self._load = load
        self._store = store
        self._key = key

    async def turns(self) -> int:
        """How many turns the session has."""
        return len(await self._store.load(self._key))

    async def say(self, text: str) -> AsyncGenerator[str]:
        """Answer `text`, whatever it looks like."""
        service = await self._ready()
        async with aclosing(service.stream(self._key, text)) as texts:
            async for so_far in texts:
                yield so_far

    async def answer(self, line: str) -> AsyncGenerator[str]:
        """Answer a line or do what it orders."""
        order = read_order(line, COMMANDS)
        if not self._service.done() and (order is None or order.name not in ("quit", "session")):
            yield Note("（模型还在加载，请稍候……）")
        async with aclosing(self.say(line) if order is None else self._obey(order)) as texts:
            async for so_far in texts:
                yield so_far

    async def answer_kindly(self, line: str) -> AsyncGenerator[str]:
        """As `answer`, but what goes wrong with one line is told, and the conversation goes on."""
        try:
            async with aclosing(self.answer(line)) as texts:
                async for so_far in texts:
                    yield so_far
        except (CheckpointError, ConfigError, EngineError, StoreError) as error:
            yield Note(f"（这次没成：{error}）")

    async def _obey(self, order: Order) -> AsyncGenerator[str]:
        if order.name == "quit":
            raise Leave
        if order.name == "session":
            yield Note(await self._switch(order.argument))
        elif order.name == "model":
            yield Note(await self._exchange(order.argument))
        elif order.name == "retry":
            async with aclosing(self._retry()) as texts:
                async for so_far in texts:
                    yield so_far
        else:
            yield Note(await obey(order, await self._ready(), self._key, COMMANDS))

    async def _retry(self) -> AsyncGenerator[str]:
        service = await self._ready()
        if not (await service.history(self._key)).turns:
            yield Note("还没有可以重答的话。")
            return
        async with aclosing(service.retry(self._key)) as texts:
            async for so_far in texts:
                yield so_far

    async def _switch(self, name: str) -> str:
        if not name:
            return f"现在的会话是 {self._key.chat}。换一个：/session 名称"
        self._key = terminal_key(name)
        turns = await self.turns()
        return f"已换到会话 {self._key.chat}（{f'{turns} 句' if turns else '新的'}）。"

    async def _exchange(self, source: str) -> str:
        """A model that cannot be loaded leaves the old one answering."""
        if not source:
            return "要换哪个模型？/model 目录"
        service, serving = await self._ready(), await self._load(source)
        try:
            await service.exchange(serving)
        except ConfigError:
            await serving.engine.close()
            raise
        return f"已换成 {source}。"

    async def _ready(self) -> ChatService:
        # Shielded: who stops waiting for a reply does not stop the model from being loaded.
        return await asyncio.shield(self._service)


def terminal_key(name: str) -> SessionKey:
    """The key of the terminal's session of this name."""
    name = name.strip()
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"{name!r} cannot be a session's name: it needs 1 to {_LONGEST_NAME} characters.")
    return SessionKey("terminal", chat=name)
