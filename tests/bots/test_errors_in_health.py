"""What an adapter says of itself: what failed, until it works again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from adapter_rig import Memory, Notebook, door, say, services
from fakes.loopback import serving, webhooks
from fakes.wechat import AES_KEY as WECHAT_KEY
from fakes.wechat import APP_ID, FakeWeChat
from fakes.wechat import SECRET as WECHAT_SECRET
from fakes.wechat import TOKEN as WECHAT_TOKEN
from fakes.wecom import AES_KEY, AGENT, BOT, CORP, SECRET, TOKEN, FakeBotPlatform, FakeWeCom
from fakes.wecom_line import SECRET as LINE_SECRET
from fakes.wecom_line import FakeLine

from chatgpt2.adapter import Adapter, AdapterError, Request
from chatgpt2.bots.webhook import build as build_webhook
from chatgpt2.bots.webhook import sign
from chatgpt2.bots.wechat_official import build as build_official
from chatgpt2.bots.wecom import build_application, build_connected_bot, build_polled_bot


def error(adapter: Adapter) -> str:
    return str(adapter.health().last_error)


async def test_an_official_account_tells_what_wechat_refuses_and_what_it_refuses_itself() -> None:
    wechat, inbox = FakeWeChat(), Notebook()
    async with serving(wechat.app) as api, httpx.AsyncClient() as http:
        given = {"token": WECHAT_TOKEN, "app-id": APP_ID, "aes-key": WECHAT_KEY, "app-secret": WECHAT_SECRET}
        adapter = build_official({**given, "base-url": api}, services(http, Memory()))
        await adapter.start(inbox)
        async with serving(webhooks(adapter)) as ours:
            call = door(http, f"{ours}/callback")
            assert (await call(Request({"signature": "0"}, {}, b"<xml/>"))).status == 403
            assert error(adapter) == "a callback is refused: the signature is wrong"
            assert (await call(Request(wechat.query(encrypt_type="aes"), {}, b"<xml/>"))).status == 403
            assert error(adapter).startswith("a callback is refused: ")
            await wechat.say(call, "你好", 1)
            assert adapter.health().last_error is None
            await _fails(adapter, inbox, wechat, 45009)
            assert error(adapter) == "45009: refused"
            await _fails(
                adapter, inbox, wechat, 45047
            )  # the person's five messages are used up: no news of the bot
            assert error(adapter) == "45009: refused"
            await say(adapter, inbox.got[0], "好")
            assert adapter.health().last_error is None
            await _fails(adapter, inbox, wechat, 45047)
            assert adapter.health().last_error is None


async def _fails(adapter: Adapter, inbox: Notebook, platform: Any, code: int) -> None:
    platform.refusals.append(code)
    with pytest.raises(AdapterError):
        await say(adapter, inbox.got[0], "好")


async def test_an_api_that_cannot_be_reached_is_told_without_its_address() -> None:
    async with httpx.AsyncClient() as http:
        given = {"corp-id": CORP, "agent-id": AGENT, "secret": SECRET, "token": TOKEN, "aes-key": AES_KEY}
        adapter = build_application({**given, "base-url": "http://127.0.0.1:9"}, services(http, Memory()))
        with pytest.raises(AdapterError):
            await adapter.start(Notebook())
        assert "cannot be reached" in error(adapter)
        assert SECRET not in error(adapter) and "corpsecret" not in error(adapter)


async def test_a_wecom_application_tells_what_failed_until_it_works() -> None:
    wecom, inbox = FakeWeCom(), Notebook()
    async with serving(wecom.app) as api, httpx.AsyncClient() as http:
        given = {"corp-id": CORP, "agent-id": AGENT, "secret": SECRET, "token": TOKEN, "aes-key": AES_KEY}
        adapter = build_application({**given, "base-url": api}, services(http, Memory()))
        await adapter.start(inbox)
        async with serving(webhooks(adapter)) as ours:
            call = door(http, f"{ours}/callback")
            good = wecom.sealed("ZhangSan", MsgType="text", Content="你好", MsgId=1)
            await call(Request({**good.query, "msg_signature": "0" * 40}, {}, good.body))
            assert error(adapter).startswith("a callback is refused: ")
            await call(Request(good.query, {}, b"<!DOCTYPE x><xml/>"))
            assert error(adapter).startswith("a callback cannot be read: ")
            await call(good)
            assert adapter.health().last_error is None
            await _fails(adapter, inbox, wecom, 60020)
            assert error(adapter).startswith("60020: ")
            await say(adapter, inbox.got[0], "好")
            assert adapter.health().last_error is None


async def test_a_bot_that_is_asked_tells_what_failed_until_it_works() -> None:
    wecom, inbox, now = FakeBotPlatform(), Notebook(), [1e9]
    wecom.eager = False
    async with wecom.running(), httpx.AsyncClient() as http:
        given = services(http, Memory(), lambda: now[0])
        adapter = build_polled_bot({"token": TOKEN, "aes-key": AES_KEY, "bot-id": BOT}, given)
        await adapter.start(inbox)
        async with serving(webhooks(adapter)) as ours:
            call = door(http, f"{ours}/callback")
            await call(Request({}, {}, b"{"))
            assert error(adapter).startswith("a callback cannot be read: ")
            await wecom.say(call, "你好", 1)
            assert adapter.health().last_error is None
        now[0] += 400  # the stream is over
        (inbound,) = inbox.got
        lost = replace(inbound, reply_to={**inbound.reply_to, "url": "http://127.0.0.1:9/response/secret"})
        with pytest.raises(AdapterError):
            await say(adapter, lost, "好")
        assert "cannot be reached" in error(adapter) and "secret" not in error(adapter)
        await say(adapter, inbound, "好")
        assert adapter.health().last_error is None


async def test_a_connected_bot_tells_what_failed_until_it_works() -> None:
    inbox = Notebook()
    async with FakeLine().running() as line, httpx.AsyncClient() as http:
        settings = {"bot-id": BOT, "secret": "wrong", "url": line.url}
        adapter = build_connected_bot(settings, services(http, Memory()))
        with pytest.raises(AdapterError):
            await asyncio.wait_for(adapter.run(), 30)
        assert "check bot-id and secret" in error(adapter) and "wrong" not in error(adapter)
        adapter = build_connected_bot({**settings, "secret": LINE_SECRET}, services(http, Memory()))
        await adapter.start(inbox)
        for number in (1, 2):
            task = asyncio.create_task(adapter.run())
            await line.say("你好", number)
            await inbox.count(number)
            assert adapter.health().last_error is None
            if number == 1:
                await line.hang_up()
                with pytest.raises(AdapterError):
                    await asyncio.wait_for(task, 30)
                assert "closed the connection" in error(adapter)
        await _fails(adapter, inbox, line, 45009)
        assert error(adapter).startswith("45009: ")
        await say(adapter, inbox.got[1], "好")
        assert adapter.health().last_error is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_webhook_tells_what_failed_until_it_works() -> None:
    statuses, inbox = [500, 404, 200, 500, 404], Notebook()

    def answer(request: httpx.Request) -> httpx.Response:
        if not statuses:
            raise httpx.ConnectError("nobody is there")
        return httpx.Response(statuses.pop(0))

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        settings = {"callback_url": "http://callback.test/x?key=abc", "secret": "s3cret"}
        adapter = build_webhook(settings, services(http, Memory()))
        await adapter.start(inbox)
        (route,) = adapter.routes()

        async def post(body: bytes, secret: str = "s3cret") -> int:
            request = Request({}, {"x-signature": sign(body, secret)}, body)
            return (await route.handler(request)).status

        good = json.dumps({"id": "1", "chat": "c", "user": "u", "text": "你好"}).encode()
        assert await post(good, "other") == 403 and error(adapter).startswith("a message was refused: ")
        assert await post(b"[]") == 400 and error(adapter).startswith("a message cannot be read: ")
        assert await post(good) == 200 and adapter.health().last_error is None
        seen = []
        for _ in range(6):
            reply = adapter.open_reply(inbox.got[0])
            with contextlib.suppress(AdapterError, httpx.HTTPError):
                await reply.send("好", index=0, final=True, feedback_id=None)
            seen.append(adapter.health().last_error)
    failed = "the callback: AdapterError: the callback answered 500"
    # 404 is about one chat: the program has answered.
    assert seen == [failed, None, None, failed, None, "the callback: ConnectError: nobody is there"]
