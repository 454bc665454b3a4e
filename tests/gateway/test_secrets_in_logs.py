"""Tokens stand in URLs, and an HTTP client likes to tell of URLs."""

from __future__ import annotations

import asyncio
import logging

import pytest
from fakes.loopback import serving
from fakes.telegram import FakeTelegram
from fakes.wechat import AES_KEY, APP_ID, SECRET, TOKEN, FakeWeChat

from chatgpt2.adapter import Inbound
from chatgpt2.gateway import Bot, make_bot
from chatgpt2.store import SessionStore


class Nobody:
    async def submit(self, inbound: Inbound) -> bool:
        return True


async def test_no_token_is_in_the_log(sqlite: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.NOTSET)
    wechat = FakeWeChat()
    async with (
        await SessionStore.open(sqlite) as store,
        serving(wechat.app) as url,
        FakeTelegram().running() as telegram,
    ):
        given = {"token": TOKEN, "aes-key": AES_KEY, "app-id": APP_ID, "app-secret": SECRET, "base-url": url}
        official, http = make_bot("wechat-official", given, store)
        async with http:
            await official.adapter.start(Nobody())
            await _answer(official, Inbound("wechat-official", APP_ID, "u", "u", "1", "你好", sent_at=0.0))
            await official.adapter.stop()
        bot, http = make_bot("telegram", {"token": telegram.token, "base-url": telegram.url}, store)
        async with http:
            await bot.adapter.start(Nobody())
            await bot.adapter.stop()
    assert any(name == "getMe" for name, _ in telegram.calls)
    assert caplog.text
    for secret in (SECRET, "access_token=", telegram.token):
        assert secret not in caplog.text


async def _answer(bot: Bot, inbound: Inbound) -> None:
    """Through the platform's API, whatever becomes of it."""
    reply = bot.adapter.open_reply(inbound)
    await asyncio.gather(reply.send("好", index=0, final=True, feedback_id=None), return_exceptions=True)
    await reply.close()
