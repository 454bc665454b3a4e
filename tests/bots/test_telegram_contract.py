from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.telegram import FakeTelegram

from chatgpt2.adapter import Adapter, Request, Services
from chatgpt2.adapter.testing import CHECKS, Call, Platform, Refusal
from chatgpt2.bots.telegram import build

URL = "https://bot.example.com/bots/telegram/webhook"


class People(Platform):
    """Who writes to the bot on the fake Telegram."""

    groups = True

    def __init__(self, fake: FakeTelegram, **settings: str) -> None:
        self._fake = fake
        self._settings = {"token": fake.token, "base-url": fake.url, **settings}
        self._said: dict[int, Any] = {}

    def build(self, services: Services) -> Adapter:
        return build(self._settings, services)

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
            self._fake.push("message", self._said[message_id])
        else:
            text = f"@XiaoBaoBot {text}" if group and addressed else text
            if group:
                self._fake.group(int(chat), kind="group")
            else:
                self._fake.person(int(chat))
            self._said[message_id] = self._fake.say(int(chat), text, 1 if group else 0)
        if "webhook-url" in self._settings:
            await self._deliver(call)

    async def _deliver(self, call: Call) -> None:
        async def deliver(url: str, headers: Mapping[str, str], body: bytes) -> int:
            assert url == URL
            return (await call("POST", "/webhook", Request({}, headers, body))).status

        self._fake.deliver = deliver
        await self._fake.until(lambda: self._fake.webhook)
        await self._fake.deliver_all()

    def seen(self, chat: str = "1") -> list[str]:
        return self._fake.said(int(chat)) if int(chat) in self._fake.rooms else []

    def refuse(self, how: Refusal) -> None:
        self._fake.faults["sendMessage"].append(1 if how == "later" else "blocked")


@pytest.mark.parametrize("settings", [{}, {"webhook-url": URL}], ids=["polling", "webhook"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_contract_is_kept(
    check: Callable[[Platform, Path], Awaitable[None]], settings: dict[str, str], tmp_path: Path
) -> None:
    async with FakeTelegram(sees_all=True).running() as fake:
        await check(People(fake, **settings), tmp_path)
