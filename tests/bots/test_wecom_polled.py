from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import httpx
import pytest
from adapter_rig import Memory, Notebook, door, say, services
from fakes.loopback import serving, webhooks
from fakes.wechat import Door
from fakes.wecom import AES_KEY, BOT, TOKEN, FakeBotPlatform

from chatgpt2.adapter import Request, WindowClosed
from chatgpt2.bots.wecom import PolledBot, build_polled_bot


@asynccontextmanager
async def running(
    wecom: FakeBotPlatform,
    inbox: Notebook,
    state: Memory | None = None,
    clock: Callable[[], float] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[PolledBot, Door]]:
    given = {"token": TOKEN, "aes-key": AES_KEY, "bot-id": BOT, **settings}
    async with wecom.running() if not wecom.url else nullcontext(), httpx.AsyncClient() as http:
        adapter = build_polled_bot(given, services(http, state or Memory(), *([clock] if clock else [])))
        await adapter.start(inbox)
        async with serving(webhooks(adapter)) as ours:
            yield adapter, door(http, f"{ours}/callback")


async def test_a_message_is_answered_by_a_stream_that_is_asked_for() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    wecom.pause = 0.01
    async with running(wecom, inbox) as (adapter, post):
        await wecom.say(post, "你好", 1)
        (inbound,) = inbox.got
        assert (inbound.account, inbound.chat_id, inbound.text, inbound.is_group) == (
            BOT,
            "ZhangSan",
            "你好",
            False,
        )
        reply = adapter.open_reply(inbound)
        await reply.preview("你")
        async with asyncio.timeout(30):
            while not any("你" in frames for frames in wecom.frames.values()):
                await asyncio.sleep(0.01)
        await reply.preview("你好")  # too soon to be noted, and no harm
        mark = await reply.send("你好呀", index=0, final=True, feedback_id="fb-1")
        await reply.close()
        await wecom.rest()
        assert await say(adapter, inbound, "你好呀") == [mark]  # sent again: it has arrived
        assert wecom.seen["ZhangSan"] == ["你好呀"] and wecom.marks == [mark]


async def test_opinions_come_back_with_the_answers_mark() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    async with running(wecom, inbox) as (adapter, post):
        await wecom.say(post, "你好", 1)
        (mark,) = await say(adapter, inbox.got[0], "你好呀", feedback_id="fb-1")
        for number, opinion in enumerate((1, 2, 3)):
            event = {"eventtype": "feedback_event", "feedback_event": {"id": mark, "type": opinion}}
            assert await wecom.deliver(post, "ZhangSan", 10 + number, msgtype="event", event=event) is None
        assert [(each.kind, each.text, each.about) for each in inbox.got[1:]] == [
            ("feedback", "up", mark),
            ("feedback", "down", mark),
            ("feedback", "", mark),
        ]
        assert (
            await wecom.deliver(post, "ZhangSan", 20, msgtype="event", event={"eventtype": "enter_chat"})
            is None
        )
        assert len(inbox.got) == 4


async def test_groups_are_chats_and_the_mention_is_left_out() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    async with running(wecom, inbox) as (adapter, post):
        await wecom.say(post, "/help 你好", 1, chat="group-1")
        (inbound,) = inbox.got
        assert (inbound.chat_id, inbound.user_id, inbound.text) == ("group-1", "ZhangSan", "/help 你好")
        assert inbound.is_group and inbound.addressed
        await say(adapter, inbound, "好")
        await wecom.rest()
        assert wecom.seen["group-1"] == ["好"]


async def test_kinds_of_messages() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    wecom.eager = False
    async with running(wecom, inbox) as (_, post):
        image = {"msgtype": "image", "image": {"url": "http://x"}}
        words = {"msgtype": "text", "text": {"content": "这是什么"}}
        await wecom.deliver(post, "ZhangSan", 1, **image)
        await wecom.deliver(post, "ZhangSan", 2, msgtype="mixed", mixed={"msg_item": [words, image]})
        await wecom.deliver(post, "ZhangSan", 3, msgtype="mixed", mixed={"msg_item": [image]})
        await wecom.deliver(post, "ZhangSan", 4, msgtype="voice", voice={"content": "说的话"})
        assert [(each.kind, each.text) for each in inbox.got] == [
            ("unsupported", ""),
            ("text", "这是什么"),
            ("unsupported", ""),
            ("text", "说的话"),
        ]


async def test_a_message_delivered_again_keeps_its_stream() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    wecom.eager = False
    async with running(wecom, inbox) as (_, post):
        text = {"msgtype": "text", "text": {"content": "你好"}}
        first = await wecom.deliver(post, "ZhangSan", 1, **text)
        assert first == await wecom.deliver(post, "ZhangSan", 1, **text) and len(inbox.got) == 1


async def test_what_nobody_asks_for_goes_to_the_response_url_once() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    wecom.eager = False
    async with running(wecom, inbox, patience=0.1) as (adapter, post):
        await wecom.say(post, "你好", 1)
        await say(adapter, inbox.got[0], "你好呀")
        assert wecom.seen["ZhangSan"] == ["你好呀"]
        with pytest.raises(WindowClosed):
            await say(adapter, inbox.got[0], "还有")


async def test_after_six_minutes_the_stream_is_over() -> None:
    wecom, inbox, now = FakeBotPlatform(), Notebook(), [1e9]
    wecom.eager = False
    async with running(wecom, inbox, clock=lambda: now[0]) as (adapter, post):
        await wecom.say(post, "你好", 1)
        now[0] += 400
        await say(adapter, inbox.got[0], "想了很久")
        assert wecom.seen["ZhangSan"] == ["想了很久"]


async def test_what_is_stopped_or_answered_along_with_another_ends() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    async with running(wecom, inbox) as (adapter, post):
        await wecom.say(post, "在吗", 1)
        await wecom.say(post, "你好", 2)
        await say(adapter, inbox.got[1], "在，你好")
        await wecom.rest()
        assert wecom.seen["ZhangSan"] == ["在，你好"]
        assert sorted(frames[-1] for frames in wecom.frames.values()) == ["…", "在，你好"]


async def test_another_process_is_asked() -> None:
    state, wecom, inbox = Memory(), FakeBotPlatform(), Notebook()
    async with running(wecom, inbox, state) as (_, post), running(wecom, Notebook(), state) as (other, _):
        await wecom.say(post, "你好", 1)
        await say(other, inbox.got[0], "别处答的")
        await wecom.rest()
        assert wecom.seen["ZhangSan"] == ["别处答的"]


async def test_forged_and_odd_callbacks_are_refused() -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    async with running(wecom, inbox) as (_, post):
        text = {"msgtype": "text", "text": {"content": "你好"}, "chattype": "single", "from": {"userid": "a"}}
        good = wecom.sealed({"msgid": "1", "aibotid": BOT, **text})
        odd = [
            (Request({**good.query, "msg_signature": "0" * 40}, {}, good.body), 403),
            (wecom.sealed({"msgid": "1", "aibotid": "another", **text}), 403),
            (Request(good.query, {}, b"{"), 400),
            (Request(good.query, {}, b"[]"), 400),
            (Request(good.query, {}, b" " * 65537), 413),
            (wecom.sealed({"aibotid": BOT, **text}), 400),
            (wecom.sealed({"msgtype": "stream", "stream": 1}), 400),
        ]
        assert [(await post(request)).status for request, _ in odd] == [status for _, status in odd]
        assert inbox.got == []


async def test_a_stream_that_nobody_knows_ends() -> None:
    wecom = FakeBotPlatform()
    async with running(wecom, Notebook()) as (_, post):
        answer = await wecom.call(post, {"msgtype": "stream", "stream": {"id": "unknown"}})
        assert answer is not None and answer["stream"]["finish"]
