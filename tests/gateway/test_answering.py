from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes.talking import Scripted
from scripted import QUIET, Memory, gateway_of

from chatgpt2.adapter import Blocked, Limits, Rejected, RetryLater, WindowClosed
from chatgpt2.gateway import Rules
from chatgpt2.gateway.rules import NOTICE
from chatgpt2.store import Feedback, People, SessionKey, SessionStore, Work


@pytest.fixture
def url(sqlite: str) -> str:
    return sqlite


async def test_a_message_is_answered_once_however_often_it_comes(url: str) -> None:
    adapter, engine = Memory(), Scripted("好")
    async with gateway_of(url, engine, adapter) as gateway:
        taken = await asyncio.gather(*(adapter.inbox.submit(adapter.event(1)) for _ in range(5)))
        assert sorted(taken) == [False, False, False, False, True]
        await adapter.until(lambda: adapter.sent)
        assert not await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: not gateway.busy)
    assert adapter.sent == [("m1", "好")] and len(engine.asked) == 1
    assert (gateway.tally.received, gateway.tally.seen, gateway.tally.answered) == (1, 5, 1)


async def test_messages_of_a_chat_are_answered_in_order_and_chats_beside_one_another(url: str) -> None:
    adapter, engine = Memory(), Scripted()
    engine.pause = asyncio.Event()
    async with gateway_of(url, engine, adapter) as gateway:
        for each in range(5):
            for chat in (1, 2):
                await adapter.inbox.submit(adapter.event(10 * chat + each, f"{each}", chat_id=f"c{chat}"))
        await adapter.until(lambda: engine.running == 2)
        engine.pause.set()
        await adapter.until(lambda: len(adapter.sent) == 10)
        await adapter.until(lambda: not gateway.busy)
    order = [name for name, _ in adapter.sent]
    for chat in ("m1", "m2"):
        assert [name for name in order if name.startswith(chat)] == [f"{chat}{each}" for each in range(5)]


async def test_a_message_that_comes_as_the_last_answer_ends_does_not_wait(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("_LOOK", "_LONGEST_LOOK"):
        monkeypatch.setattr(f"chatgpt2.gateway.gateway.{pause}", 600)
    adapter = Memory()
    async with gateway_of(url, Scripted("好", "嗯"), adapter) as gateway:
        following = gateway.mailbox.next

        async def followed(*whose: Any) -> Work:
            work = await following(*whose)
            if len(adapter.sent) == 1:  # nothing was left to do; then comes this, and is looked for at once
                await adapter.inbox.submit(adapter.event(2))
                await asyncio.sleep(0.1)
            return work

        monkeypatch.setattr(gateway.mailbox, "next", followed)
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: len(adapter.sent) == 2)
    assert [name for name, _ in adapter.sent] == ["m1", "m2"]


async def test_who_opts_out_in_a_group_is_left_out_of_the_export_until_they_opt_in(url: str) -> None:
    adapter, engine = Memory(), Scripted("甲答", "乙答", "乙又答")
    group = {"chat_id": "g", "is_group": True}
    said = [("u1", "甲说"), ("u2", "乙说"), ("u1", "／退出训练"), ("u2", "乙又说"), ("u1", "/optin")]
    exports = []
    async with gateway_of(url, engine, adapter), await SessionStore.open(url) as store:
        for number, (user, text) in enumerate(said, 1):
            await adapter.inbox.submit(adapter.event(number, text, user_id=user, **group))
            await adapter.until(lambda: len(adapter.sent) == number)  # noqa: B023
            exports.append([each.turns async for each in People(store).dialogues()])
    texts = [[[turn.text for turn in turns] for turns in export] for export in exports]
    everything = ["甲说", "甲答", "乙说", "乙答"]
    assert texts[1] == [everything] and texts[2] == [["乙说", "乙答"]]
    assert texts[3] == [["乙说", "乙答", "乙又说", "乙又答"]] and texts[4] == [
        [*everything, "乙又说", "乙又答"]
    ]
    assert "/加入训练" in adapter.sent[2][1] and "/退出训练" in adapter.sent[4][1]
    assert len(engine.asked) == 3


async def test_a_stranger_is_told_once_that_an_ai_answers(url: str) -> None:
    adapter = Memory()
    async with gateway_of(url, Scripted("好", "嗯"), adapter, rules=Rules()):
        for number in (1, 2):
            await adapter.inbox.submit(adapter.event(number))
        await adapter.until(lambda: len(adapter.sent) == 2)
    assert [text for _, text in adapter.sent] == [f"{NOTICE}\n好", "嗯"]


async def test_what_grows_before_a_strangers_eyes_says_it_too(url: str) -> None:
    adapter = Memory(Limits(1000, preview="pull"))
    async with gateway_of(url, Scripted("好的"), adapter, rules=Rules()):
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: adapter.sent)
    shown = [text for kind, text in adapter.seen if kind == "preview"]
    assert shown and all(text.startswith(f"{NOTICE}\n好") for text in shown)


async def test_a_long_answer_goes_out_in_pieces_that_the_platform_takes(url: str) -> None:
    adapter = Memory(Limits(16, sends_per_inbound=3))
    reply = "一二三四五六七八九十。" * 5
    async with gateway_of(url, Scripted(reply), adapter):
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: len(adapter.sent) == 3)
    assert [text for _, text in adapter.sent][:2] == ["一二三四五六七八九十。"] * 2
    assert adapter.feedback_ids[:2] == [None, None] and adapter.feedback_ids[2] is not None
    assert all(len(text) <= 16 for _, text in adapter.sent)


async def test_a_platform_that_asks_for_a_pause_gets_it_and_everything_afterwards(url: str) -> None:
    adapter = Memory(Limits(16))
    adapter.faults = [RetryLater(0.01), None, RetryLater(0.01), RetryLater(0.01)]
    async with gateway_of(url, Scripted("一二三四五六七八九十。一二三四五六七八九十。"), adapter) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: len(adapter.sent) == 2)
    assert (gateway.tally.retried, gateway.tally.repeated, gateway.tally.dropped) == (3, 0, 0)


@pytest.mark.parametrize("fault", [WindowClosed("over"), Blocked("gone"), Rejected("no")])
async def test_an_answer_that_can_never_arrive_is_dropped_and_the_next_is_sent(
    url: str, fault: Exception
) -> None:
    adapter = Memory(Limits(16))
    adapter.faults = [None, fault]
    async with gateway_of(url, Scripted("一二三四五六七八九十。" * 3, "好"), adapter) as gateway:
        for number in (1, 2):
            await adapter.inbox.submit(adapter.event(number))
        await adapter.until(lambda: len(adapter.sent) == 2)
        await adapter.until(lambda: not gateway.busy)
    assert [name for name, _ in adapter.sent] == ["m1", "m2"]
    assert gateway.tally.dropped == 2


async def test_a_send_that_may_have_arrived_is_counted_when_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatgpt2.gateway.delivering._FIRST_PAUSE", 0.01)
    adapter = Memory()
    adapter.faults = [TimeoutError("no answer"), OSError("reset")]
    async with gateway_of(url, Scripted("好"), adapter) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: adapter.sent)
    assert gateway.tally.repeated == 2


async def test_what_was_not_answered_is_answered_by_the_next_process(url: str) -> None:
    first, engine = Memory(), Scripted("好")
    engine.pause = asyncio.Event()
    async with gateway_of(url, engine, first, grace=0):
        await first.inbox.submit(first.event(1))
        await first.inbox.submit(first.event(2))
        await first.until(lambda: engine.running)
    assert not first.sent and first.stopped == 1
    second = Memory()
    async with gateway_of(url, Scripted("甲", "乙"), second) as gateway:
        await second.until(lambda: len(second.sent) == 2)
        await second.until(lambda: not gateway.busy)
    assert second.sent == [("m1", "甲"), ("m2", "乙")]


async def test_an_answer_that_is_being_made_may_be_finished_at_the_end(url: str) -> None:
    adapter, engine = Memory(), Scripted("好的")
    engine.pause = asyncio.Event()
    async with gateway_of(url, engine, adapter):
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: engine.running)
        engine.pause.set()
    assert adapter.sent == [("m1", "好的")] and adapter.closed == 1


async def test_stop_ends_the_reply_and_what_waits_behind_it(url: str) -> None:
    adapter, engine = Memory(Limits(1000, preview="pull")), Scripted("很长的话")
    engine.pause = asyncio.Event()
    async with gateway_of(url, engine, adapter) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: ("preview", "很") in adapter.seen)
        await adapter.inbox.submit(adapter.event(2))
        await adapter.inbox.submit(adapter.event(3, "/停"))
        await adapter.until(lambda: adapter.sent)
        engine.pause.set()
        await adapter.inbox.submit(adapter.event(4))
        await adapter.until(lambda: len(adapter.sent) == 2)
        await adapter.until(lambda: not gateway.busy)
    assert adapter.sent == [("m3", "好的，不说了。"), ("m4", "答2")]
    async with await SessionStore.open(url) as store:
        assert [turn.text for turn in (await store.load(SessionKey("memory", "me", "c"))).turns] == [
            "你好",
            "答2",
        ]


async def test_a_stop_button_needs_no_answer(url: str) -> None:
    adapter, engine = Memory(), Scripted("很长的话")
    engine.pause = asyncio.Event()
    async with gateway_of(url, engine, adapter) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: engine.running)
        await adapter.inbox.submit(adapter.event(2, "", kind="stop"))
        await adapter.until(lambda: not gateway.busy)
    assert not adapter.sent and adapter.closed == 1


async def test_previews_grow_and_end_before_the_answer(url: str) -> None:
    adapter = Memory(Limits(1000, preview="pull"))
    async with gateway_of(url, Scripted("今天天气好"), adapter) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: adapter.sent and not gateway.busy)
    shown = [text for kind, text in adapter.seen if kind == "preview"]
    assert shown and all("今天天气好".startswith(text) for text in shown) and shown == sorted(shown, key=len)
    assert ("typing", "True") in adapter.seen and adapter.seen[-1] == ("typing", "False")


async def test_bursts_are_answered_together(url: str) -> None:
    adapter, engine = Memory(), Scripted("在呢", "嗯")
    async with gateway_of(url, engine, adapter, rules=Rules(notice="", burst=0.3)) as gateway:
        for number, text in enumerate(("在吗", "在不在", "喂")):
            await adapter.inbox.submit(adapter.event(number, text))
        await adapter.inbox.submit(adapter.event(7, "我是别人", user_id="v"))
        await adapter.until(lambda: len(adapter.sent) == 2)
        await adapter.until(lambda: not gateway.busy)
    assert adapter.sent == [("m2", "在呢"), ("m7", "嗯")]
    assert engine.asked[0][0] == "在吗\n在不在\n喂"


async def test_pictures_get_one_polite_line(url: str) -> None:
    adapter, engine = Memory(), Scripted()
    async with gateway_of(url, engine, adapter) as gateway:
        for number in (1, 2, 1):  # an album comes in several calls
            await adapter.inbox.submit(adapter.event(number, "", kind="unsupported"))
            await asyncio.sleep(0.05)
        await adapter.until(lambda: adapter.sent and not gateway.busy)
    [(replied_to, line)] = adapter.sent
    assert replied_to == "m2" and "文字" in line and not engine.asked


async def test_commands_are_obeyed_and_a_retry_is_the_models(url: str) -> None:
    adapter = Memory()
    async with gateway_of(url, Scripted("好", "更好"), adapter):
        for number, text in enumerate(("你好", "/retry", "/撤销", "/help", "/没有")):
            await adapter.inbox.submit(adapter.event(number, text))
        await adapter.until(lambda: len(adapter.sent) == 5)
    texts = [text for _, text in adapter.sent]
    assert texts[:3] == ["好", "更好", "已撤回「你好」和它的回答。"]
    assert "/reset" in texts[3] and "没有 /没有" in texts[4]


async def test_a_full_conversation_gets_a_busy_answer_at_once(url: str) -> None:
    adapter, engine = Memory(), Scripted("好")
    engine.pause = asyncio.Event()
    async with gateway_of(url, engine, adapter, rules=Rules(notice="", waiting=2)) as gateway:
        for number in range(4):
            assert await adapter.inbox.submit(adapter.event(number))
        await adapter.until(lambda: len(adapter.sent) == 2)
        assert [name for name, _ in adapter.sent] == ["m2", "m3"] and "等" in adapter.sent[0][1]
        engine.pause.set()
        await adapter.until(lambda: len(adapter.sent) == 4)
    assert gateway.tally.refused == 2


async def test_groups_are_answered_by_their_rules(url: str) -> None:
    adapter = Memory()
    rules = Rules(notice="", group_prefix=("小智",), block=("bad",), allow=("c", "g"))
    async with gateway_of(url, Scripted(), adapter, rules=rules):
        group = {"chat_id": "g", "is_group": True, "addressed": False}
        await adapter.inbox.submit(adapter.event(1, "别人的话", **group))
        await adapter.inbox.submit(adapter.event(2, "小智 你好", **group))
        await adapter.inbox.submit(adapter.event(3, "你好", **{**group, "addressed": True}))
        await adapter.inbox.submit(adapter.event(4, "你好", **group, to_bot=True))
        await adapter.inbox.submit(adapter.event(5, "你好", user_id="bad"))
        await adapter.inbox.submit(adapter.event(6, "你好", chat_id="x", user_id="stranger"))
        await adapter.until(lambda: len(adapter.sent) == 4)
    assert {name for name, _ in adapter.sent} == {"m2", "m3", "m4", "m6"}
    assert "stranger" in dict(adapter.sent)["m6"]


async def test_a_letter_that_ends_every_process_is_given_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatgpt2.gateway.answering._MOST_ATTEMPTS", 3)
    for _ in range(3):
        adapter, engine = Memory(), Scripted("好")
        engine.pause = asyncio.Event()
        async with gateway_of(url, engine, adapter, grace=0):
            await adapter.inbox.submit(adapter.event(1))
            await adapter.until(lambda engine=engine: engine.running)  # type: ignore[misc]
    adapter = Memory()
    async with gateway_of(url, Scripted("好"), adapter, rules=QUIET):
        await adapter.until(lambda: adapter.sent)
    assert "没能回答" in adapter.sent[0][1]


async def test_an_opinion_is_kept_of_the_reply_it_is_about(url: str) -> None:
    adapter = Memory()
    async with gateway_of(url, Scripted("好"), adapter) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: adapter.sent)
        for number, (about, text) in enumerate(
            ((adapter.feedback_ids[0], "down"), ("p1", "up"), ("p9", "down"))
        ):
            await adapter.inbox.submit(adapter.event(10 + number, text, kind="feedback", about=str(about)))
        await adapter.until(lambda: not gateway.busy)
    async with await SessionStore.open(url) as store:
        [opinion] = await Feedback(store).recent(9)
    assert (opinion.reply, opinion.verdict, opinion.user) == ("好", "up", "u") and len(adapter.sent) == 1


async def test_text_that_no_database_takes_is_cleaned(url: str) -> None:
    adapter = Memory()
    async with gateway_of(url, Scripted(), adapter):
        await adapter.inbox.submit(adapter.event(1, "/\x00没有\ud83d"))
        await adapter.until(lambda: adapter.sent)
    assert "没有" in adapter.sent[0][1]
