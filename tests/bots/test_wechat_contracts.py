"""The contract that every adapter keeps, held against WeChat's and WeCom's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import wechat, wecom, wecom_line
from fakes.ilink import BOT, FakeIlink
from fakes.loopback import serving

from chatgpt2.adapter import Adapter, Request, Response, Services
from chatgpt2.adapter.testing import CHECKS, Call, Refusal
from chatgpt2.bots import wechat_official, wechat_personal
from chatgpt2.bots.wecom import build_application, build_connected_bot, build_polled_bot


def door(call: Call) -> wechat.Door:
    """How the kit calls a webhook."""

    async def post(request: Request) -> Response:
        return await call("POST", "/callback", request)

    return post


class Official:
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

    def seen(self, chat: str = "1") -> list[str]:
        return self.fake.seen[chat]

    def refuse(self, how: Refusal) -> None:
        self.fake.refusals.append(-1 if how == "later" else 45015)


class Application(Official):
    def __init__(self) -> None:
        self.fake: Any = wecom.FakeWeCom()

    def build(self, services: Services) -> Adapter:
        secrets = {"token": wecom.TOKEN, "aes-key": wecom.AES_KEY, "secret": wecom.SECRET}
        where = {"corp-id": wecom.CORP, "agent-id": wecom.AGENT, "base-url": self.url}
        return build_application({**secrets, **where}, services)

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

    def refuse(self, how: Refusal) -> None:
        self.fake.refusals.append(-1 if how == "later" else 40058)


class Personal(Official):
    def __init__(self) -> None:
        self.fake: Any = FakeIlink()

    def build(self, services: Services) -> Adapter:
        return _LoggedIn(self.fake.token, self.url, services)

    async def say(self, text: str, message_id: int, *, chat: str = "1", **_: Any) -> None:
        self.fake.say(text, message_id, chat)

    def refuse(self, how: Refusal) -> None:
        self.fake.faults["sendmessage"].append(429 if how == "later" else -2)


class _LoggedIn(wechat_personal.WeChatPersonal):
    """Somebody has scanned its code before."""

    def __init__(self, token: str, url: str, services: Services) -> None:
        super().__init__(wechat_personal.Settings(url), services)
        self._kept = {"token": token, "bot": BOT, "owner": "1", "base_url": url}

    async def start(self, inbox: Any) -> None:
        await self.services.state.set("login", self._kept)
        await super().start(inbox)


@pytest.mark.parametrize("platform", [Official, Application, PolledBot, ConnectedBot, Personal])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Any, platform: type[Any], tmp_path: Path) -> None:
    fake = platform()
    async with fake.running():
        await check(fake, tmp_path)
