from __future__ import annotations

import asyncio

import pytest
from fakes.talking import Scripted
from scripted import Memory, gateway_of

from chatgpt2.adapter import (
    AdapterError,
    Health,
    Inbound,
    Request,
    Response,
    RetryLater,
    Route,
    WindowClosed,
)
from chatgpt2.errors import ConfigError, StoreError
from chatgpt2.gateway import make_bot, split_settings
from chatgpt2.store import Leases, SessionStore


@pytest.fixture
def url(sqlite: str) -> str:
    return sqlite


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.gateway.supervising._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("chatgpt2.gateway.supervising._STAND_BY", 0.05)


async def test_a_bot_that_fails_is_started_again_and_others_do_not_notice(url: str) -> None:
    ill, well = Memory(), Memory()
    ill.account = "ill"
    ill.starts = [AdapterError("the token is wrong")]
    ill.runs = [RuntimeError("lost"), RetryLater(0.02)]
    async with gateway_of(url, Scripted(), ill, well) as gateway:
        await ill.until(lambda: ill.running == 3)
        await ill.until(lambda: gateway.report()[0].stage == "polling")
        report = gateway.report()
        await well.inbox.submit(well.event(1))
        await well.until(lambda: well.sent)
    assert [(each.restarts, each.healthy, well.running) for each in report] == [(3, True, 1), (0, True, 1)]
    assert report[0].last_error == "RetryLater: the platform asks for a pause (0.02 s)"
    assert ill.stopped == well.stopped == 1


async def test_an_account_is_polled_by_one_process_and_taken_over(url: str) -> None:
    first, second = Memory(), Memory()
    async with gateway_of(url, Scripted(), second, lease=0.5) as standing_by:
        await second.until(lambda: second.running == 1)
        async with gateway_of(url, Scripted(), first, lease=0.5) as other:
            await first.until(lambda: other.report()[0].stage == "standby")
            assert first.running == 0 and standing_by.report()[0].stage == "polling"
    async with gateway_of(url, Scripted(), first, lease=0.5):
        await first.until(lambda: first.running == 1)


async def test_a_living_process_takes_over_from_one_that_died_elsewhere(url: str) -> None:
    """It gave nothing back, and nobody here can see that it is dead: its lease has to run out."""
    adapter = Memory()
    async with await SessionStore.open(url) as store:
        dead = Leases(store, "another-machine-1-abc")
        assert await dead.take("memory:me", 600)
        async with gateway_of(url, Scripted(), adapter, lease=0.5) as gateway:
            await adapter.until(lambda: gateway.report()[0].stage == "standby")
            assert adapter.running == 0
            assert await dead.take("memory:me", 0.2), "the last time that it prolonged it"
            await adapter.until(lambda: gateway.report()[0].stage == "polling" and adapter.running == 1)
            assert not await dead.take("memory:me", 600)


async def test_the_proxy_of_a_bots_settings_is_the_way_out(url: str) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with (
        await SessionStore.open(url) as store,
        await asyncio.start_server(serve, "127.0.0.1", 0) as proxy,
    ):
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        given = {"callback-url": "http://callback.example/answers", "secret": "s", "proxy": address}
        bot, client = make_bot("mine", {"adapter": "webhook", **given}, store)
        async with client:
            reply = bot.adapter.open_reply(Inbound("webhook", "default", "c", "u", "1", "你好"))
            with pytest.raises(WindowClosed):
                await reply.send("好", index=0, final=True, feedback_id=None)
    assert heard[0].splitlines()[0] == b"POST http://callback.example/answers HTTP/1.1"


async def test_a_webhook_bot_serves_and_a_poller_too_silent_is_ill(url: str) -> None:
    hook, mute = Memory(), Memory()
    hook.runs, mute.account = [None], "mute"
    mute.health = lambda: Health(1.0, "nothing heard", 90)  # type: ignore[method-assign]
    async with gateway_of(url, Scripted(), hook, mute) as gateway:
        await hook.until(lambda: gateway.report()[0].stage == "serving" and mute.running)
        well, ill = gateway.report()
    assert well.healthy and not ill.healthy
    assert ill.silent_for is not None and ill.silent_for > 90 and ill.last_error == "nothing heard"


async def test_webhooks_reach_the_bot_that_they_are_for(url: str) -> None:
    adapter = Memory()
    broken = False

    async def handler(request: Request) -> Response:
        if broken:
            raise StoreError("the disk is full")
        return Response(200, request.body + request.query["a"].encode())

    adapter.routes = lambda: [Route("POST", "/hook", handler)]  # type: ignore[method-assign]
    async with gateway_of(url, Scripted(), adapter) as gateway:
        request = Request({"a": "1"}, {}, b"x")
        statuses = []
        for name, method, path in (
            ("b0", "POST", "/hook"),
            ("b0", "GET", "/hook"),
            ("b0", "POST", "/"),
            ("b9", "POST", "/hook"),
        ):
            statuses.append((await gateway.handle(name, method, path, request)).status)
        assert statuses == [200, 405, 404, 404]
        assert (await gateway.handle("b0", "POST", "/hook", request)).body == b"x1"
        broken = True
        assert (await gateway.handle("b0", "POST", "/hook", request)).status == 503


async def test_what_stops_leaves_nothing_running(url: str) -> None:
    adapter = Memory()
    before = asyncio.all_tasks()
    async with gateway_of(url, Scripted(), adapter):
        await adapter.inbox.submit(adapter.event(1))
    assert asyncio.all_tasks() == before


async def test_a_bots_settings_are_read_by_gateway_and_adapter(url: str) -> None:
    rules, own = split_settings({"allow": ["1"], "per-minute": 5, "token": "t", "base-url": "u"})
    assert (rules.allow, rules.per_minute, own) == (("1",), 5, {"token": "t", "base_url": "u"})
    for wrong in ({"group_probability": 2}, {"per_day": 0}, {"burst": -1}, {"waiting": "many"}):
        with pytest.raises(ConfigError):
            split_settings(wrong)
    async with await SessionStore.open(url) as store:
        with pytest.raises(AdapterError, match="no bot 'nobody'"):
            make_bot("mine", {"adapter": "nobody"}, store)
