"""Every platform that an adapter is here for, as the people on it see it: see chatgpt2.adapter.testing.Platform.

Besides `say`, people `show` a picture and, where the platform can, `like` the last answer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fakes import wechat, wecom, wecom_line
from fakes.ilink import BOT, FakeIlink
from fakes.loopback import serving
from fakes.telegram import FakeTelegram

from chatgpt2.adapter import Adapter, Inbound, Reply, Request, Response, Services
from chatgpt2.adapter.testing import Call, Platform, Refusal
from chatgpt2.bots import telegram, wechat_official, wechat_personal
from chatgpt2.bots.terminal.adapter import TerminalBot
from chatgpt2.bots.wecom import build_application, build_connected_bot, build_polled_bot

TELEGRAM_WEBHOOK = "https://bot.example.com/bots/telegram/webhook"


def door(call: Call) -> wechat.Door:
    """How the kit calls a webhook."""

    async def post(request: Request) -> Response:
        return await call("POST", "/callback", request)

    return post


class Telegram(Platform):
    groups = True

    def __init__(self, fake: FakeTelegram, **settings: str) -> None:
        self.fake = fake
        self._settings = {"token": fake.token, "base-url": fake.url, **settings}
        self._said: dict[int, Any] = {}

    def build(self, services: Services) -> Adapter:
        return telegram.build(self._settings, services)

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
        if message_id in self._said:
            self.fake.push("message", self._said[message_id])
        else:
            text = f"@XiaoBaoBot {text}" if group and addressed else text
            if group:
                self.fake.group(int(chat), kind="group")
            else:
                self.fake.person(int(chat))
            self._said[message_id] = self.fake.say(int(chat), text, 1 if group else 0)
        if "webhook-url" in self._settings:
            await self._deliver(call)

    async def show(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        self.fake.say(int(chat), "", photo=[{"file_id": "a", "file_unique_id": "b", "width": 1, "height": 1}])

    async def like(self, message_id: int, *, chat: str = "1", call: Call) -> str:
        query = self.fake.press(self.fake.own(int(chat))[-1], "👍")
        await self.fake.until(lambda: query in self.fake.thanked)
        return self.fake.thanked[query]

    async def _deliver(self, call: Call) -> None:
        async def deliver(url: str, headers: Mapping[str, str], body: bytes) -> int:
            assert url == TELEGRAM_WEBHOOK
            return (await call("POST", "/webhook", Request({}, headers, body))).status

        self.fake.deliver = deliver
        await self.fake.until(lambda: self.fake.webhook)
        await self.fake.deliver_all()

    def seen(self, chat: str = "1") -> list[str]:
        return self.fake.said(int(chat)) if int(chat) in self.fake.rooms else []

    def refuse(self, how: Refusal) -> None:
        self.fake.faults["sendMessage"].append(1 if how == "later" else "blocked")


class Official:
    """A verified service account."""

    groups = False

    def __init__(self) -> None:
        self.fake = wechat.FakeWeChat()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with serving(self.fake.app) as self.url:
            yield

    def build(self, services: Services) -> Adapter:
        secrets = {"token": wechat.TOKEN, "aes-key": wechat.AES_KEY, "app-secret": wechat.SECRET}
        return wechat_official.build({**secrets, "app-id": wechat.APP_ID, "base-url": self.url}, services)

    async def say(self, text: str, message_id: int, *, chat: str = "1", call: Call, **_: Any) -> None:
        await self.fake.say(door(call), text, message_id, chat)

    async def show(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        picture = self.fake.message(chat, MsgType="image", MsgId=message_id)
        await self.fake.deliver(door(call), picture)

    def seen(self, chat: str = "1") -> list[str]:
        return self.fake.seen[chat]

    def refuse(self, how: Refusal) -> None:
        self.fake.refusals.append(-1 if how == "later" else 45015)


class Subscription(Official):
    """A subscription account: it may speak in answers to callbacks only. `patience`: WeChat's, in seconds."""

    def __init__(self, patience: float = 5.0) -> None:
        self.fake, self.patience = wechat.FakeWeChat(rights=False), patience
        self._shown: dict[int, str] = {}

    def build(self, services: Services) -> Adapter:
        given = {"token": wechat.TOKEN, "aes-key": wechat.AES_KEY, "patience": self.patience}
        return wechat_official.build({**given, "app-id": wechat.APP_ID, "base-url": self.url}, services)

    async def say(self, text: str, message_id: int, *, chat: str = "1", call: Call, **how: Any) -> None:
        """Every delivery of a message gets its answer, and the person sees that once."""
        seen, before = self.fake.seen[chat], len(self.fake.seen[chat])
        await super().say(text, message_id, chat=chat, call=call, **how)
        if seen[before:] == [self._shown.get(message_id)]:
            seen.pop()
        elif seen[before:]:
            self._shown[message_id] = seen[-1]


class Application(Official):
    def __init__(self) -> None:
        self.fake: Any = wecom.FakeWeCom()

    def build(self, services: Services) -> Adapter:
        secrets = {"token": wecom.TOKEN, "aes-key": wecom.AES_KEY, "secret": wecom.SECRET}
        where = {"corp-id": wecom.CORP, "agent-id": wecom.AGENT, "base-url": self.url}
        return build_application({**secrets, **where}, services)

    async def show(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        await self.fake.deliver(door(call), chat, MsgType="image", MsgId=message_id)

    def refuse(self, how: Refusal) -> None:
        self.fake.refusals.append(-1 if how == "later" else 81013)


class PolledBot(Official):
    groups = True

    def __init__(self) -> None:
        self.fake: Any = wecom.FakeBotPlatform()
        self.refused = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.fake.running():
            yield

    def build(self, services: Services) -> Adapter:
        given = {"token": wecom.TOKEN, "aes-key": wecom.AES_KEY, "bot-id": wecom.BOT, "patience": 1.0}
        return build_polled_bot(given, services)

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
        if addressed:
            self.fake.eager, self.refused = not self.refused, False
            await self.fake.say(door(call), text, message_id, "u" if group else chat, chat if group else "")

    async def show(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        await self._deliver(call, chat, message_id, msgtype="image", image={"url": "http://x"})

    async def like(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        opinion = {"eventtype": "feedback_event", "feedback_event": {"id": self.fake.marks[-1], "type": 1}}
        await self._deliver(call, chat, message_id, msgtype="event", event=opinion)

    async def _deliver(self, call: Call, chat: str, message_id: int, **body: Any) -> None:
        await self.fake.deliver(door(call), chat, message_id, **body)

    def refuse(self, how: Refusal) -> None:
        self.refused = True  # WeCom does not ask for the stream of the next message
        self.fake.refusals.append(429 if how == "later" else 404)


class ConnectedBot(PolledBot):
    def __init__(self) -> None:
        self.fake: Any = wecom_line.FakeLine()

    def build(self, services: Services) -> Adapter:
        given = {"bot-id": wecom_line.BOT, "secret": wecom_line.SECRET, "url": self.fake.url}
        return build_connected_bot(given, services)

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
        if addressed:
            await self.fake.say(text, message_id, "u" if group else chat, chat if group else "")

    async def _deliver(self, call: Call, chat: str, message_id: int, **body: Any) -> None:
        await self.fake.deliver(chat, message_id, **body)

    def refuse(self, how: Refusal) -> None:
        self.fake.refusals.append(-1 if how == "later" else 40058)


class Personal(Official):
    def __init__(self) -> None:
        self.fake: Any = FakeIlink()

    def build(self, services: Services) -> Adapter:
        return _LoggedIn(self.fake.token, self.url, services)

    async def say(self, text: str, message_id: int, *, chat: str = "1", **_: Any) -> None:
        self.fake.say(text, message_id, chat)

    async def show(self, message_id: int, *, chat: str = "1", call: Call) -> None:
        self.fake.say("", message_id, chat, item_list=[{"type": 2, "image_item": {}}])

    def refuse(self, how: Refusal) -> None:
        self.fake.faults["sendmessage"].append(429 if how == "later" else -2)


class _LoggedIn(wechat_personal.WeChatPersonal):
    """Somebody has scanned its code before."""

    def __init__(self, token: str, url: str, services: Services) -> None:
        super().__init__(wechat_personal.Settings(url), services)
        self._kept = {"token": token, "bot": BOT, "base_url": url}

    async def start(self, inbox: Any) -> None:
        await self.services.state.set("login", self._kept)
        await super().start(inbox)


class Written(Reply):
    """Notes what is sent for good; previews come and go."""

    def __init__(self, reply: Reply, screen: list[str]) -> None:
        self._reply, self._screen = reply, screen
        self.typing, self.preview, self.close = reply.typing, reply.preview, reply.close  # type: ignore[method-assign]

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        self._screen.append(chunk)
        return await self._reply.send(chunk, index=index, final=final, feedback_id=feedback_id)


class Watched(TerminalBot):
    def __init__(self, screens: dict[str, list[str]]) -> None:
        super().__init__()
        self._screens = screens

    def open_reply(self, inbound: Inbound) -> Reply:
        return Written(super().open_reply(inbound), self._screens[inbound.chat_id])


class AtTerminal(Platform):
    """People who type; what is said twice under one number is one message, handed over twice."""

    groups = False

    def __init__(self, kind: type[Watched] = Watched) -> None:
        self._kind, self._bot = kind, kind({})
        self._screens: dict[str, list[str]] = defaultdict(list)
        self._typing: set[asyncio.Task[None]] = set()

    def build(self, services: Services) -> Adapter:
        self._bot = self._kind(self._screens)
        return self._bot

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
        async def read() -> None:
            async for _ in self._bot.say(text, chat, str(message_id)):
                pass

        task = asyncio.create_task(read())
        self._typing.add(task)
        task.add_done_callback(self._typing.discard)
        await asyncio.sleep(0)  # who types first is heard first

    def seen(self, chat: str = "1") -> list[str]:
        return self._screens[chat]

    def refuse(self, how: Refusal) -> None:
        raise NotImplementedError
