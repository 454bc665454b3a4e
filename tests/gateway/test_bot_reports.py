"""What a bot says of itself: what failed, for how long that is told, and never with a secret."""

from __future__ import annotations

import logging

import pytest
from fakes.talking import Scripted
from scripted import Memory, gateway_of

from chatgpt2.adapter import AdapterError, Health
from chatgpt2.gateway import make_bot
from chatgpt2.store import SessionStore


async def test_an_error_is_told_until_the_bot_has_run_well_for_a_while(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatgpt2.gateway.supervising._FIRST_PAUSE", 0.01)
    adapter, later = Memory(), [0.0]
    adapter.runs = [AdapterError("the line is cut")]
    async with gateway_of(sqlite, Scripted(), adapter) as gateway:
        await adapter.until(lambda: adapter.running == 2 and gateway.report()[0].stage == "polling")
        bot = gateway.bots[0]
        now = bot._clock
        monkeypatch.setattr(bot, "_clock", lambda: now() + later[0])
        assert bot.report().last_error == "AdapterError: the line is cut"
        later[0] = 3600.0
        assert (bot.report().last_error, bot.report().healthy, bot.report().restarts) == (None, True, 1)
        adapter.health = lambda: Health(None, "another one")  # type: ignore[method-assign]
        assert bot.report().last_error == "another one"


async def test_no_secret_of_the_settings_is_in_a_report_or_the_log(
    sqlite: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = {
        "callback-url": "http://127.0.0.1:9",
        "secret": "hunter22",
        "proxy": "http://me:pass@127.0.0.1:9",
    }
    async with await SessionStore.open(sqlite) as store:
        bot, client = make_bot("webhook", given, store)
        await client.aclose()
    why = "http://me:pass@127.0.0.1:9 says no to hunter22"
    with caplog.at_level(logging.INFO):
        bot._fail(AdapterError(why), 1)
    told = [str(bot.report().last_error)]
    bot.adapter.health = lambda: Health(None, why)  # type: ignore[method-assign]
    told += [str(bot.report().last_error), caplog.text]
    for text in told:
        assert "says no" in text and "hunter22" not in text and "pass" not in text
