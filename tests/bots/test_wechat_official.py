from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from adapter_rig import Memory, Notebook, door, say, services
from fakes.loopback import serving, webhooks
from fakes.wechat import AES_KEY, APP_ID, ORIGINAL, OUT_OF_SERVICE, SECRET, TOKEN, Door, FakeWeChat, Mode

from chatgpt2.adapter import (
    AdapterError,
    Blocked,
    ConfigError,
    Inbound,
    Rejected,
    Request,
    Response,
    RetryLater,
    WindowClosed,
)
from chatgpt2.bots.wechat_official import WeChatOfficial, build
from chatgpt2.bots.wechat_official.passive import MORE, THINKING


@dataclass
class Rig:
    wechat: FakeWeChat
    adapter: WeChatOfficial
    inbox: Notebook
    state: Memory
    door: Door

    async def said(self, text: str, message_id: int = 1) -> Inbound:
        """Somebody says it, and the adapter submits it."""
        await self.wechat.say(self.door, text, message_id)
        return self.inbox.got[-1]


@asynccontextmanager
async def running(
    wechat: FakeWeChat, inbox: Notebook, state: Memory | None = None, **settings: Any
) -> AsyncIterator[Rig]:
    """The adapter behind real HTTP, with the API of the fake."""
    state = Memory() if state is None else state
    given = {"token": TOKEN, "app-id": APP_ID, **settings}
    if wechat.mode != "plain":
        given["aes-key"] = AES_KEY
    async with serving(wechat.app) as api, httpx.AsyncClient() as http:
        adapter = build({**given, "base-url": api}, services(http, state))
        await adapter.start(inbox)
        async with serving(webhooks(adapter)) as ours:
            yield Rig(wechat, adapter, inbox, state, door(http, f"{ours}/callback"))
            await asyncio.gather(*inbox.tasks)


def answering(*chunks: str, wait: Callable[[], Any] | None = None) -> tuple[Notebook, list[WeChatOfficial]]:
    """An inbox that answers each message so; the adapter is put into the list when there is one."""
    place: list[WeChatOfficial] = []

    async def answer(inbound: Inbound) -> None:
        if wait is not None:
            await wait()
        await say(place[0], inbound, *(chunk.format(inbound.text) for chunk in chunks))

    return Notebook(answer), place


@pytest.mark.parametrize("mode", ["plain", "compatible", "safe"])
async def test_a_message_is_answered_in_the_answer_to_its_callback(mode: Mode) -> None:
    inbox, place = answering("你说{}")
    async with running(FakeWeChat(mode), inbox) as rig:
        place.append(rig.adapter)
        await rig.wechat.say(rig.door, "你好 <b>&😀", 1)
        assert rig.wechat.seen["oPerson"] == ["你说你好 <b>&😀"]
        first = inbox.got[0]
        assert (first.platform, first.account, first.chat_id) == ("wechat-official", APP_ID, "oPerson")
        assert (first.user_id, first.message_id, first.kind) == ("oPerson", "1", "text")


async def test_the_address_is_verified() -> None:
    async with (
        running(FakeWeChat(), Notebook()) as rig,
        serving(webhooks(rig.adapter)) as ours,
        httpx.AsyncClient() as http,
    ):
        get = door(http, f"{ours}/callback", "GET")
        assert await rig.wechat.verify(get)
        assert (await get(Request({**rig.wechat.query(), "signature": "0" * 40}, {}, b""))).status == 403


async def _post(rig: Rig, request: Request, **query: str) -> int:
    return (await rig.door(Request({**request.query, **query}, {}, request.body))).status


async def test_forged_callbacks_are_refused() -> None:
    async with running(FakeWeChat(), Notebook()) as rig:
        message = rig.wechat.message("oPerson", MsgType="text", Content="你好", MsgId=1)
        sealed = rig.wechat.sealed(message)
        assert await _post(rig, sealed, signature="0" * 40) == 403
        assert await _post(rig, sealed, msg_signature="0" * 40) == 403
        assert await _post(rig, sealed, encrypt_type="raw") == 403
        assert await _post(rig, Request(sealed.query, {}, b"<xml></xml>")) == 403
        assert await _post(rig, Request(sealed.query, {}, b"<!DOCTYPE x><xml></xml>")) == 400
        assert await _post(rig, Request(sealed.query, {}, b"<xml>" + b" " * 65536)) == 413
        rig.wechat.mode = "plain"  # which an account with a key does not take
        assert await _post(rig, rig.wechat.sealed(message)) == 403
        assert rig.inbox.got == []


async def test_an_account_without_a_key_says_that_one_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    wechat = FakeWeChat("plain")
    async with running(wechat, Notebook()) as rig:
        wechat.mode = "safe"
        message = wechat.message("oPerson", MsgType="text", Content="你好", MsgId=1)
        assert await _post(rig, wechat.sealed(message)) == 403
        assert "the setting aes-key is missing" in caplog.text
        assert await _post(rig, Request(wechat.query(), {}, b"<xml><MsgType>text</MsgType></xml>")) == 400


async def test_what_could_not_be_stored_is_not_acknowledged() -> None:
    inbox = Notebook()
    inbox.failing = RuntimeError("the database is gone")
    wechat = FakeWeChat()
    async with running(wechat, inbox) as rig:
        message = wechat.message("oPerson", MsgType="text", Content="你好", MsgId=1)
        assert (await rig.door(wechat.sealed(message))).status == 500


async def test_the_three_deliveries_of_a_message_get_one_answer() -> None:
    wechat = FakeWeChat()
    third = asyncio.Event()

    async def wait() -> None:
        await third.wait()

    inbox, place = answering("想好了", wait=wait)
    async with running(wechat, inbox, patience=1.0) as rig:
        place.append(rig.adapter)
        saying = asyncio.ensure_future(wechat.say(rig.door, "难题", 1))
        async with asyncio.timeout(30):
            while wechat.deliveries["1"] < 3:
                await asyncio.sleep(0.01)
        third.set()
        await saying
        assert wechat.seen["oPerson"] == ["想好了"] and len(inbox.got) == 1


async def test_an_answer_that_takes_longer_is_fetched_by_any_text() -> None:
    wechat = FakeWeChat()
    now = asyncio.Event()
    inbox, place = answering("想好了", wait=now.wait)
    async with running(wechat, inbox, patience=0.4) as rig:
        place.append(rig.adapter)
        await wechat.say(rig.door, "难题", 1)
        assert wechat.seen["oPerson"] == [THINKING]
        fetching = asyncio.ensure_future(wechat.say(rig.door, "好了吗", 2))
        now.set()
        await fetching
        assert wechat.seen["oPerson"] == [THINKING, "想好了"]
        assert [each.text for each in inbox.got] == ["难题"]  # "好了吗" was not a message to the bot
        await asyncio.gather(*inbox.tasks)
        await wechat.say(rig.door, "下一句", 3)
        assert wechat.seen["oPerson"] == [THINKING, "想好了", "想好了"]
        assert inbox.got[-1].text == "下一句"


async def test_an_answer_that_was_lost_on_its_way_is_given_again() -> None:
    inbox, place = answering("你好呀")
    async with running(FakeWeChat(), inbox) as rig:
        place.append(rig.adapter)
        message = rig.wechat.message("oPerson", MsgType="text", Content="你好", MsgId=1)
        await rig.wechat.deliver(rig.door, message)
        await rig.wechat.deliver(rig.door, message)
        assert rig.wechat.seen["oPerson"] == ["你好呀", "你好呀"] and len(inbox.got) == 1


async def test_long_answers_come_piece_by_piece() -> None:
    inbox, place = answering("一" * 682, "二" * 100)
    async with running(FakeWeChat(), inbox) as rig:
        place.append(rig.adapter)
        await rig.said("说吧")
        await rig.wechat.say(rig.door, "继续", 2)
        await rig.wechat.say(rig.door, "继续", 3)
        seen = rig.wechat.seen["oPerson"]
        assert len(inbox.got) == 1
        assert all(text.endswith(MORE) for text in seen[:-1]) and MORE not in seen[-1]
        assert "".join(text.removesuffix(MORE) for text in seen) == "一" * 682 + "二" * 100
        assert max(len(text.encode()) for text in seen) <= 2047


async def test_messages_answered_together_are_released_together() -> None:
    wechat, inbox = FakeWeChat(), Notebook()
    async with running(wechat, inbox) as rig:
        first = asyncio.ensure_future(wechat.say(rig.door, "在吗", 1))
        await inbox.count(1)
        second = asyncio.ensure_future(wechat.say(rig.door, "你好", 2))
        await inbox.count(2)
        await say(rig.adapter, inbox.got[1], "在的，你好")
        await asyncio.gather(first, second)
        assert wechat.seen["oPerson"] == ["在的，你好"]


async def test_commands_are_never_taken_for_a_fetch() -> None:
    wechat, inbox = FakeWeChat(), Notebook()
    async with running(wechat, inbox, patience=0.4) as rig:
        await wechat.say(rig.door, "难题", 1)
        stopping = asyncio.ensure_future(wechat.say(rig.door, "/stop", 2))
        await inbox.count(2)
        await say(rig.adapter, inbox.got[0])  # stopped: nothing is sent
        await say(rig.adapter, inbox.got[1], "好的，不说了。")
        await stopping
        await asyncio.gather(wechat.say(rig.door, "你好", 3), _answered(rig, 3, "你好呀"))
        assert wechat.seen["oPerson"] == [THINKING, "好的，不说了。", "你好呀"]


async def _answered(rig: Rig, count: int, text: str) -> None:
    got = await rig.inbox.count(count)
    await say(rig.adapter, got[-1], text)


async def test_what_another_process_answers_is_found() -> None:
    state, wechat = Memory(), FakeWeChat()
    async with running(wechat, Notebook(), state) as one, running(wechat, Notebook(), state) as other:
        saying = asyncio.ensure_future(wechat.say(one.door, "你好", 1))
        await one.inbox.count(1)
        await say(other.adapter, one.inbox.got[0], "别处答的")
        await saying
        assert wechat.seen["oPerson"] == ["别处答的"]


async def test_what_nobody_fetches_is_forgotten_in_time() -> None:
    inbox, place = answering("一" * 682, "二")
    state = Memory()
    async with running(FakeWeChat(), inbox, state) as rig:
        place.append(rig.adapter)
        await rig.said("说吧")
        await rig.adapter.desk.sweep()
        assert len(state.kept) == 5  # two pieces, and what was seen, told and closed
        rig.adapter.desk._clock = lambda: 4e9
        await rig.adapter.desk.sweep()
        assert state.kept == {}


# Customer service


async def test_an_account_with_the_right_writes_customer_service_messages() -> None:
    wechat = FakeWeChat()
    async with running(wechat, Notebook(), **{"app-secret": SECRET}) as rig:
        assert (rig.adapter.limits.sends_per_inbound, rig.adapter.limits.max_length) == (5, 2047)
        inbound = await rig.said("你好")
        assert wechat.seen["oPerson"] == []
        await say(rig.adapter, inbound, "你好呀", "第二条 \U0001f600")
        assert wechat.seen["oPerson"] == ["你好呀", "第二条 \U0001f600"]
        reply = rig.adapter.open_reply(inbound)
        for on in (True, True, False):
            await reply.typing(on)
        assert wechat.typing == [("oPerson", "Typing"), ("oPerson", "CancelTyping")]


@pytest.mark.parametrize("code", [40001, 40014, 42001])
async def test_a_token_is_kept_over_restarts_and_renewed_once_when_it_is_refused(code: int) -> None:
    wechat, state = FakeWeChat(stale=code), Memory()
    for _ in range(2):
        async with running(wechat, Notebook(), state, **{"app-secret": SECRET}) as rig:
            inbound = await rig.said("你好")
    assert wechat.calls["token"] == 1
    wechat.lose_token()
    async with running(wechat, Notebook(), state, **{"app-secret": SECRET}) as rig:
        await asyncio.gather(*(say(rig.adapter, inbound, text) for text in ("一", "二")))
        assert sorted(wechat.seen["oPerson"]) == ["一", "二"]
        assert wechat.calls["token"] == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-1, RetryLater),
        (45009, RetryLater),
        (45011, RetryLater),
        (40164, RetryLater),
        (45015, WindowClosed),
        (45047, WindowClosed),
        (43004, Blocked),
        (50002, Blocked),
        (40003, Rejected),
        (45002, Rejected),
    ],
)
async def test_errors_say_what_is_to_be_done(code: int, kind: type[AdapterError]) -> None:
    wechat = FakeWeChat()
    async with running(wechat, Notebook(), **{"app-secret": SECRET}) as rig:
        inbound = await rig.said("你好")
        wechat.refusals.append(code)
        with pytest.raises(kind, match=str(code)):
            await say(rig.adapter, inbound, "你好呀")


async def test_the_sixth_message_and_one_after_two_days_are_too_many() -> None:
    wechat = FakeWeChat()
    async with running(wechat, Notebook(), **{"app-secret": SECRET}) as rig:
        inbound = await rig.said("你好")
        with pytest.raises(WindowClosed, match="45047"):
            await say(rig.adapter, inbound, *"一二三四五六")
        wechat.ahead = 49 * 3600
        with pytest.raises(WindowClosed, match="45015"):
            await say(rig.adapter, inbound, "一")
        assert wechat.seen["oPerson"] == [*"一二三四五"]


async def test_an_account_without_the_right_goes_on_passively() -> None:
    wechat, state = FakeWeChat(rights=False), Memory()
    async with running(wechat, Notebook(), state, **{"app-secret": SECRET}) as rig:
        inbound = await rig.said("你好")
        await say(rig.adapter, inbound, "你好呀")
        assert rig.adapter.limits.sends_per_inbound is None
    inbox, place = answering("再答")
    async with running(wechat, inbox, state, **{"app-secret": SECRET}) as rig:  # what was learnt is kept
        place.append(rig.adapter)
        await rig.wechat.say(rig.door, "再说", 2)
        await rig.wechat.say(rig.door, "继续", 3)
        assert wechat.seen["oPerson"] == ["再答" + MORE, "你好呀"]


async def test_a_wrong_secret_is_told_and_nothing_else_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chatgpt2")
    with pytest.raises(AdapterError, match="app-secret is wrong") as told:
        async with running(FakeWeChat(), Notebook(), **{"app-secret": "not-the-secret"}):
            raise AssertionError("it was to be refused")
    assert "not-the-secret" not in str(told.value) + caplog.text


async def test_an_api_that_is_not_there_is_a_reason_to_wait() -> None:
    async with httpx.AsyncClient() as http:
        settings = {"token": TOKEN, "app-id": APP_ID, "app-secret": SECRET, "base-url": "http://127.0.0.1:9"}
        with pytest.raises(RetryLater, match="cannot be reached"):
            await build(settings, services(http, Memory())).start(Notebook())


# Events


async def test_whoever_follows_is_greeted_and_a_menu_speaks_for_the_person() -> None:
    inbox, place = answering("答{}")
    async with running(FakeWeChat(), inbox) as rig:
        place.append(rig.adapter)
        for event, key in (("subscribe", ""), ("CLICK", "/help"), ("unsubscribe", ""), ("VIEW", "http://x")):
            await rig.wechat.deliver(
                rig.door, rig.wechat.message("oPerson", MsgType="event", Event=event, EventKey=key)
            )
        assert [each.text for each in inbox.got] == ["/start", "/help"]
        assert rig.wechat.seen["oPerson"] == ["答/start", "答/help"]


async def test_pictures_are_unsupported_and_a_recognised_voice_is_text() -> None:
    inbox, place = answering("好")
    async with running(FakeWeChat(), inbox) as rig:
        place.append(rig.adapter)
        for number, fields in enumerate(
            ({"MsgType": "image"}, {"MsgType": "voice"}, {"MsgType": "voice", "Recognition": "你好"})
        ):
            await rig.wechat.deliver(rig.door, rig.wechat.message("oPerson", MsgId=number + 1, **fields))
        assert [(each.kind, each.text) for each in inbox.got] == [
            ("unsupported", ""),
            ("unsupported", ""),
            ("text", "你好"),
        ]


async def test_a_picture_that_nobody_answers_is_acknowledged() -> None:
    wechat = FakeWeChat()
    async with running(wechat, Notebook(), patience=0.2) as rig:
        await wechat.deliver(rig.door, wechat.message("oPerson", MsgId=1, MsgType="image"))
        assert wechat.seen["oPerson"] == [] and wechat.deliveries["1"] == 3


async def test_health_tells_when_wechat_called() -> None:
    async with running(FakeWeChat(), Notebook()) as rig:
        assert rig.adapter.health().last_contact is None
        await rig.wechat.deliver(
            rig.door, rig.wechat.message("o", MsgType="event", Event="unsubscribe", EventKey="")
        )
        assert rig.adapter.health().last_contact is not None and rig.adapter.health().silence is None


async def test_a_wrong_key_is_told_before_anything_is_started() -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(ConfigError, match="aes_key must be"):
            build({"token": TOKEN, "app_id": APP_ID, "aes_key": "short"}, services(http, Memory()))


async def test_the_fake_refuses_what_wechat_refuses() -> None:
    async def garbage(request: Request) -> Any:
        return Response(body=b"<html>")

    wechat = FakeWeChat()
    await wechat.say(garbage, "你好", 1)
    assert wechat.seen["oPerson"] == [OUT_OF_SERVICE] and ORIGINAL.startswith("gh_")
