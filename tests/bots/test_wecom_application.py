from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from adapter_rig import Memory, Notebook, door, say, services
from fakes.loopback import serving, webhooks
from fakes.wechat import Door
from fakes.wecom import AES_KEY, AGENT, CORP, SECRET, TOKEN, FakeWeCom

from chatgpt2.adapter import AdapterError, Blocked, Rejected, Request, RetryLater
from chatgpt2.bots.wecom import Application, build_application

SETTINGS = {"corp-id": CORP, "agent-id": AGENT, "secret": SECRET, "token": TOKEN, "aes-key": AES_KEY}


@asynccontextmanager
async def running(
    wecom: FakeWeCom, inbox: Notebook, clock: Any = None, **settings: str
) -> AsyncIterator[tuple[Application, Door, Door]]:
    """The adapter, and how its address is called with POST and with GET."""
    async with serving(wecom.app) as api, httpx.AsyncClient() as http:
        given = services(http, Memory(), *([clock] if clock else []))
        adapter = build_application({**SETTINGS, "base-url": api, **settings}, given)
        await adapter.start(inbox)
        async with serving(webhooks(adapter)) as ours:
            address = f"{ours}/callback"
            yield adapter, door(http, address), door(http, address, "GET")


async def test_a_message_is_answered_by_the_api() -> None:
    wecom, inbox = FakeWeCom(), Notebook()
    async with running(wecom, inbox) as (adapter, post, _):
        answer = await wecom.say(post, "你好 <b>&😀", 1)
        assert (answer.status, answer.body) == (200, b"")
        (inbound,) = inbox.got
        assert (inbound.account, inbound.chat_id, inbound.text) == (
            f"{CORP}-{AGENT}",
            "ZhangSan",
            "你好 <b>&😀",
        )
        assert await say(adapter, inbound, "你好呀", "再见") == ["m1", "m2"]
        assert wecom.seen["ZhangSan"] == ["你好呀", "再见"]
        assert adapter.health().last_contact is not None


async def test_the_address_is_verified_with_the_sealed_echo() -> None:
    wecom = FakeWeCom()
    async with running(wecom, Notebook()) as (_, _, get):
        answer = await wecom.verify(get)
        assert (answer.status, answer.body) == (200, b"1288432023552776189")
        assert (await get(Request({"echostr": "x"}, {}, b""))).status == 403


async def test_forged_callbacks_are_refused() -> None:
    wecom, inbox = FakeWeCom(), Notebook()
    async with running(wecom, inbox) as (_, post, _):
        good = wecom.sealed("ZhangSan", MsgType="text", Content="你好", MsgId=1)
        assert (await post(Request({**good.query, "msg_signature": "0" * 40}, {}, good.body))).status == 403
        assert (await post(Request(good.query, {}, b"<!DOCTYPE x><xml/>"))).status == 400
        assert (await post(Request(good.query, {}, b" " * 65537))).status == 413
        other = wecom.sealed("ZhangSan", MsgType="text", Content="你好", MsgId=1, AgentID="7")
        assert (await post(other)).status == 403
        assert inbox.got == []


async def test_events_and_pictures_are_what_they_are_elsewhere() -> None:
    wecom, inbox = FakeWeCom(), Notebook()
    async with running(wecom, inbox) as (_, post, _):
        for event, key in (("subscribe", ""), ("click", "/help"), ("enter_agent", "")):
            await wecom.deliver(post, "ZhangSan", MsgType="event", Event=event, EventKey=key)
        await wecom.deliver(post, "ZhangSan", MsgType="image", MsgId=9)
        assert [(each.kind, each.text) for each in inbox.got] == [
            ("text", "/start"),
            ("text", "/help"),
            ("unsupported", ""),
        ]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(-1, RetryLater), (45009, RetryLater), (60020, RetryLater), (81013, Blocked), (40008, Rejected)],
)
async def test_errors_say_what_is_to_be_done(code: int, kind: type[AdapterError]) -> None:
    wecom, inbox = FakeWeCom(), Notebook()
    async with running(wecom, inbox) as (adapter, post, _):
        await wecom.say(post, "你好", 1)
        wecom.refusals.append(code)
        with pytest.raises(kind, match=str(code)):
            await say(adapter, inbox.got[0], "你好呀")


async def test_a_member_who_is_gone_gets_nothing_more() -> None:
    wecom, inbox = FakeWeCom(), Notebook()
    async with running(wecom, inbox) as (adapter, post, _):
        await wecom.say(post, "你好", 1)
        wecom.gone.add("ZhangSan")
        with pytest.raises(Blocked):
            await say(adapter, inbox.got[0], "你好呀")


async def test_what_wecom_would_throw_away_waits() -> None:
    wecom, inbox, now = FakeWeCom(), Notebook(), [1e9]
    async with running(wecom, inbox, lambda: now[0]) as (adapter, post, _):
        await wecom.say(post, "你好", 1)
        await asyncio.gather(*(say(adapter, inbox.got[0], "好") for _ in range(30)))
        now[0] += 20
        with pytest.raises(RetryLater) as told:
            await say(adapter, inbox.got[0], "好")
        assert told.value.after == 40
        now[0] += 40
        await say(adapter, inbox.got[0], "好")
        assert len(wecom.seen["ZhangSan"]) == 31


async def test_an_hour_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.bots.wecom.application._RATES", ((3, 60.0), (5, 3600.0)))
    wecom, inbox, now = FakeWeCom(), Notebook(), [1e9]
    async with running(wecom, inbox, lambda: now[0]) as (adapter, post, _):
        await wecom.say(post, "你好", 1)
        for _ in range(5):
            await say(adapter, inbox.got[0], "好")
            now[0] += 100
        with pytest.raises(RetryLater) as told:
            await say(adapter, inbox.got[0], "好")
        assert told.value.after == 3100
        now[0] += 3100
        await say(adapter, inbox.got[0], "好")
        assert len(wecom.seen["ZhangSan"]) == 6


async def test_a_token_that_has_run_out_is_renewed() -> None:
    wecom, inbox = FakeWeCom(), Notebook()
    async with running(wecom, inbox) as (adapter, post, _):
        await wecom.say(post, "你好", 1)
        wecom.lose_token()
        await say(adapter, inbox.got[0], "你好呀")
        assert wecom.seen["ZhangSan"] == ["你好呀"] and wecom.calls["token"] == 2


async def test_a_wrong_secret_is_told() -> None:
    with pytest.raises(AdapterError, match="secret is wrong"):
        async with running(FakeWeCom(), Notebook(), secret="not-the-secret"):
            raise AssertionError("it was to be refused")
