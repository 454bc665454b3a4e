from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from adapter_rig import Memory, Notebook, say, services
from fakes.wecom_line import BOT, SECRET, FakeLine

from chatgpt2.adapter import AdapterError, Rejected, RetryLater
from chatgpt2.bots.wecom import ConnectedBot, build_connected_bot


@asynccontextmanager
async def running(inbox: Notebook, **settings: Any) -> AsyncIterator[tuple[FakeLine, ConnectedBot, Any]]:
    """The fake, the adapter, and the task of its `run`."""
    async with FakeLine().running() as line, httpx.AsyncClient() as http:
        given = {"bot-id": BOT, "secret": SECRET, "url": line.url, **settings}
        adapter = build_connected_bot(given, services(http, Memory()))
        await adapter.start(inbox)
        task = asyncio.create_task(adapter.run())
        try:
            yield line, adapter, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_message_is_answered_by_a_growing_stream() -> None:
    inbox = Notebook()
    async with running(inbox) as (line, adapter, _):
        await line.say("你好", 1)
        (inbound,) = await inbox.count(1)
        assert (inbound.account, inbound.chat_id, inbound.text) == (BOT, "ZhangSan", "你好")
        reply = adapter.open_reply(inbound)
        await reply.preview("你")
        await reply.preview("你好")
        mark = await reply.send("你好呀", index=0, final=False, feedback_id="fb-1")
        await reply.send("第二条", index=1, final=True, feedback_id=None)
        await reply.close()
        assert line.frames == [("你", False), ("你好", False), ("你好呀", True)]
        assert line.seen["ZhangSan"] == ["你好呀", "第二条"] and line.marks == [mark]
        assert adapter.health().last_contact is not None


async def test_an_answer_at_once_has_its_mark_only_when_opinions_are_wanted() -> None:
    inbox = Notebook()
    async with running(inbox) as (line, adapter, _):
        await line.say("你好", 1)
        await line.say("你好", 2, chat="group-1")
        one, other = await inbox.count(2)
        assert (other.chat_id, other.text, other.is_group) == ("group-1", "你好", True)
        await say(adapter, one, "好", feedback_id="fb-1")
        await say(adapter, other, "好")
        assert len(line.marks) == 1
        event = {"eventtype": "feedback_event", "feedback_event": {"id": line.marks[0], "type": 2}}
        await line.deliver("ZhangSan", 3, msgtype="event", event=event)
        assert (await inbox.count(3))[2].about == line.marks[0]


async def test_what_is_stopped_ends_as_it_was_shown() -> None:
    inbox = Notebook()
    async with running(inbox) as (line, adapter, _):
        await line.say("讲个故事", 1)
        reply = adapter.open_reply((await inbox.count(1))[0])
        await reply.preview("从前")
        await reply.close()
        assert line.frames == [("从前", False), ("从前…", True)]


async def test_an_answer_after_the_stream_is_over_is_a_message_of_its_own() -> None:
    inbox = Notebook()
    async with running(inbox) as (line, adapter, _):
        await line.say("你好", 1)
        (inbound,) = await inbox.count(1)
        line.forget()
        await say(adapter, inbound, "你好呀")
        old = {**inbound.reply_to, "at": inbound.reply_to["at"] - 400}
        late = type(inbound)(**{**{n: getattr(inbound, n) for n in inbound.__slots__}, "reply_to": old})
        reply = adapter.open_reply(late)
        await reply.preview("不再显示")
        await reply.send("晚了", index=0, final=True, feedback_id=None)
        await reply.close()
        assert line.seen["ZhangSan"] == ["你好呀", "晚了"] and line.frames == []


@pytest.mark.parametrize(("code", "kind"), [(45009, RetryLater), (-1, RetryLater), (40058, Rejected)])
async def test_errors_say_what_is_to_be_done(code: int, kind: type[AdapterError]) -> None:
    inbox = Notebook()
    async with running(inbox) as (line, adapter, _):
        await line.say("你好", 1)
        (inbound,) = await inbox.count(1)
        line.refusals.append(code)
        with pytest.raises(kind, match=str(code)):
            await say(adapter, inbound, "你好呀")


async def test_a_broken_connection_ends_run_and_answers_wait() -> None:
    inbox = Notebook()
    async with running(inbox) as (line, adapter, task):
        await line.say("你好", 1)
        (inbound,) = await inbox.count(1)
        await line.hang_up()
        with pytest.raises(AdapterError, match="closed the connection"):
            await asyncio.wait_for(task, 30)
        with pytest.raises(RetryLater, match="no connection"):
            await say(adapter, inbound, "你好呀")
        await adapter.open_reply(inbound).preview("没有人看")
        again = asyncio.create_task(adapter.run())
        async with asyncio.timeout(30):
            while line.connections < 2 or adapter._line is None:
                await asyncio.sleep(0.01)
        await say(adapter, inbound, "你好呀")
        assert line.seen["ZhangSan"] == ["你好呀"]
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_a_dead_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.bots.wecom.line._ACKNOWLEDGED", 0.05)
    async with running(Notebook(), beat=0.05) as (line, _, task):
        async with asyncio.timeout(30):
            while line.pings < 3:
                await asyncio.sleep(0.01)
        line.deaf = True
        with pytest.raises(AdapterError, match="closed the connection"):
            await asyncio.wait_for(task, 30)


async def test_another_connection_is_not_fought() -> None:
    async with running(Notebook()) as (line, _, task):
        await line.deliver("ZhangSan", 1, msgtype="event", event={"eventtype": "disconnected_event"})
        with pytest.raises(RetryLater, match="taken over") as told:
            await asyncio.wait_for(task, 30)
        assert told.value.after == 300


async def test_a_wrong_secret_is_told_without_it() -> None:
    async with running(Notebook(), secret="not-the-secret") as (_, _, task):
        with pytest.raises(AdapterError, match="check bot-id and secret") as told:
            await asyncio.wait_for(task, 30)
        assert "not-the-secret" not in str(told.value)


async def test_a_platform_that_is_not_there_is_a_reason_to_wait() -> None:
    async with running(Notebook(), url="ws://127.0.0.1:9") as (_, _, task):
        with pytest.raises(RetryLater, match="cannot be reached"):
            await asyncio.wait_for(task, 30)


async def test_odd_messages_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Notebook()
    async with running(inbox) as (line, _, _):
        await line.deliver("ZhangSan", 1, msgtype="text")
        await line.say("你好", 2)
        await inbox.count(1)
        assert "cannot be read" in caplog.text and inbox.got[0].message_id == "2"
