"""What a line typed in the terminal means: something said, or a command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from chatgpt2.adapter import Command
from chatgpt2.bots.terminal import Leave, Note
from chatgpt2.bots.terminal.adapter import TerminalBot
from chatgpt2.chat import ChatService
from chatgpt2.commands import SHARED, read_order
from chatgpt2.errors import ChatGPT2Error, CheckpointError, ConfigError, EngineError, StoreError
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


class Failures:
    """Takes what went wrong past the gateway, which would only apologise, to the person, who can mend it."""

    def __init__(self) -> None:
        self._latest: ChatGPT2Error | None = None

    def note(self, error: ChatGPT2Error) -> str:
        """What is answered: nothing."""
        self._latest = error
        return ""

    def tell(self) -> None:
        """Raise what has gone wrong since the last time."""
        error, self._latest = self._latest, None
        if error is not None:
            raise error


class Conversation:
    """Which session the person is in, and the terminal's own commands; the rest goes through the gateway.

    The service may still be on its way: loading a model takes seconds.
    """

    def __init__(
        self,
        service: asyncio.Task[ChatService],
        bot: TerminalBot,
        store: SessionStore,
        key: SessionKey,
        load: Callable[[str], Awaitable[Serving]],
        failures: Failures,
    ) -> None:
        self._service, self._bot, self._load, self._store, self._key = service, bot, load, store, key
        self._failures = failures

    async def turns(self) -> int:
        """How many turns the session has."""
        return len(await self._store.load(self._key))

    async def reply(self, text: str) -> str:
        """The model's reply to `text`, whatever it looks like."""
        return await (await self._ready()).reply(self._key, text)

    async def answer(self, line: str) -> AsyncGenerator[str]:
        """Answer a line or do what it orders."""
        order = read_order(line, COMMANDS)
        name = None if order is None else order.name
        if name == "quit":
            raise Leave
        if not self._service.done() and name != "session":
            yield Note("（模型还在加载，请稍候……）")
        if order is not None and name in ("session", "model"):
            act = self._switch if name == "session" else self._exchange
            yield Note(await act(order.argument))
            return
        await self._ready()
        async with aclosing(self._bot.say(line, self._key.chat)) as texts:
            async for so_far in texts:
                yield so_far
        self._failures.tell()

    async def answer_kindly(self, line: str) -> AsyncGenerator[str]:
        """As `answer`, but what goes wrong with one line is told, and the conversation goes on."""
        try:
            async with aclosing(self.answer(line)) as texts:
                async for so_far in texts:
                    yield so_far
        except (CheckpointError, ConfigError, EngineError, StoreError) as error:
            yield Note(f"（这次没成：{error}）")

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
