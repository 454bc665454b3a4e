"""An adapter under the real gateway, with a model that says what it is told to."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from chatgpt2.adapter import Adapter, Request, Response, Services
from chatgpt2.adapter.testing.platform import Platform
from chatgpt2.chat import ChatService
from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.gateway import Bot, Gateway, Rules
from chatgpt2.serving import Serving
from chatgpt2.store import AdapterState, Person, SessionStore
from chatgpt2.store.erasing import erase

PATIENCE = 60.0  # seconds for anything to happen; nothing takes nearly as long
_GRACE = 1.0
_NAME = "contract"
_TURN = "\x00"  # between the turns of a prompt; no message has one


def answer_to(text: str) -> str:
    """What the speaker says to this."""
    return f"听到：{text}"


class Speaker:
    """An engine that says what it is told (`replies`), or else what it has heard: see `answer_to`. While `hold` is
    set it stops after the first piece."""

    def __init__(self) -> None:
        self.replies: list[str] = []
        self.begun = 0
        self.hold = False
        self._go = asyncio.Event()

    def go_on(self) -> None:
        """Let held replies end."""
        self.hold = False
        self._go.set()

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        """See chatgpt2.engine.base.Engine."""
        self.begun += 1
        heard = "".join(map(chr, prompt_ids)).rpartition(_TURN)[2]
        reply = self.replies.pop(0) if self.replies else answer_to(heard)
        for at in range(0, len(reply), 64):
            yield Step([ord(letter) for letter in reply[at : at + 64]])
            if self.hold:
                self._go.clear()
                await self._go.wait()
        yield Step([], "stop")

    async def close(self) -> None:
        """Nothing to close."""


class _Points:
    """A codec whose ids are code points."""

    window = 1 << 20
    stop_ids = (0,)
    banned_ids: tuple[int, ...] = ()
    vocabulary = ("",)

    def prompt(self, dialogue: Dialogue, room: int, opening: Sequence[Turn] = ()) -> list[int]:
        return self.begin(_TURN.join(turn.text for turn in (*opening, *dialogue.turns)))[-room:]

    def begin(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decoder(self) -> _Points:
        return self

    def push(self, ids: Iterable[int]) -> str:
        return "".join(map(chr, ids))

    def finish(self) -> str:
        return ""


class Process:
    """The adapter as one process runs it. `stopped`: its `stop` has come to its end, in time and without an error."""

    def __init__(self, gateway: Gateway, platform: Platform, speaker: Speaker, adapter: Adapter) -> None:
        self.gateway, self.platform, self.speaker, self.limits = gateway, platform, speaker, adapter.limits
        self.stopped = False
        stop = adapter.stop

        async def noted() -> None:
            await stop()
            self.stopped = True

        adapter.stop = noted  # type: ignore[method-assign]

    async def say(self, text: str, message_id: int, **how: object) -> None:
        """As the platform's, which needs to know how webhooks are called."""

        async def call(method: str, path: str, request: Request) -> Response:
            return await self.gateway.handle(_NAME, method, path, request)

        await self.platform.say(text, message_id, call=call, **how)  # type: ignore[arg-type]

    async def until(self, what: Callable[[], object], why: str) -> None:
        """Wait until it is so."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not what():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            said = f"{why}; the bot: {self.gateway.report()}, counted: {self.gateway.tally}"
            raise AssertionError(said) from None

    async def sees(self, *texts: str, chat: str = "1") -> None:
        """People in the chat get exactly these, and the process comes to rest."""
        why = f"people were to get {[text[:20] for text in texts]}"
        await self.until(lambda: len(self.platform.seen(chat)) >= len(texts), why)
        await self.rest()
        got = self.platform.seen(chat)
        assert got == list(texts), f"{why}, and got {[text[:20] for text in got]}"

    async def rest(self) -> None:
        """Wait until there is nothing left to do."""

        async def resting() -> bool:
            return not self.gateway.busy and await self.gateway.mailbox.pending() == (0, 0)

        async with asyncio.timeout(PATIENCE):
            while not await resting():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def process(
    platform: Platform, folder: Path, *, grace: float = _GRACE, notice: str = ""
) -> AsyncIterator[Process]:
    """Run the platform's adapter on the database in `folder`; with `grace` 0 the end is that of a killed process,
    as far as answers are concerned."""
    async with await SessionStore.open(_url(folder)) as store, httpx.AsyncClient() as http:
        state, log = AdapterState(store, _NAME), logging.getLogger(_NAME)
        adapter = platform.build(Services(http, state, time.time, log))
        speaker = Speaker()
        service = ChatService(Serving(speaker, _Points(), SamplingParams()), store)
        bot = Bot(_NAME, adapter, Rules(notice=notice))
        gateway = Gateway(service, store, [bot])
        async with gateway.running(grace):
            running = Process(gateway, platform, speaker, adapter)
            await running.until(bot.ready.is_set, "the adapter was to start")
            yield running


async def left_after_erasing_everybody(folder: Path) -> tuple[str, set[str]]:
    """What the adapter's state holds when all who wrote to it are erased, and their ids and those of their chats."""
    ids: set[str] = set()
    async with await SessionStore.open(_url(folder)) as store:
        for key in [info.key for info in await store.sessions()]:
            users = {turn.user_id for turn in await store.record(key) if turn.user_id}
            ids |= {key.chat, *users}
            for user in users:
                await erase(store, Person(key.platform, user, key.account))
        return json.dumps(await AdapterState(store, _NAME).all(), ensure_ascii=False), ids


def _url(folder: Path) -> str:
    return f"sqlite:///{(folder / 'contract.db').as_posix()}"
