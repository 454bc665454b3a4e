from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from telegram_rig import Rig, rigged

from chatgpt2.adapter import Blocked, Inbound, Reply, RetryLater
from chatgpt2.errors import AdapterError, Rejected, StoreError

XIAOMING, GROUP, FORUM = 7, -1001, -1002


async def say(reply: Reply, *chunks: str, feedback_id: str | None = None) -> list[str]:
    """Send an answer as the gateway does."""
    ids = []
    for index, chunk in enumerate(chunks):
        final = index == len(chunks) - 1
        ids.append(
            await reply.send(chunk, index=index, final=final, feedback_id=feedback_id if final else None)
        )
    await reply.close()
    return ids


async def asked(rig: Rig, chat: int = XIAOMING, **settings: Any) -> Reply:
    """The way back to somebody who said something to the bot."""
    if chat == XIAOMING:
        rig.fake.person(chat)
    else:
        rig.fake.group(chat, topics=(5,) if chat == FORUM else ())
    topic = {"message_thread_id": 5} if chat == FORUM else {}
    return (await rig.heard(chat, "@XiaoBaoBot 你好", XIAOMING, **topic))[2]


def counted(rig: Rig, method: str) -> int:
    return sum(name == method for name, _ in rig.fake.calls)


async def test_in_private_a_reply_grows_as_a_draft_that_the_answer_replaces() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        await reply.typing(True)
        await reply.preview("今天")
        await reply.preview("今天天气")
        assert rig.fake.drafts[XIAOMING]["text"] == "今天天气"
        assert rig.fake.said(XIAOMING) == []
        await reply.typing(True)  # the draft says it already
        await say(reply, "今天天气真好。")
        assert rig.fake.said(XIAOMING) == ["今天天气真好。"]
        assert not rig.fake.drafts
        assert (counted(rig, "sendChatAction"), counted(rig, "sendMessageDraft")) == (1, 2)


async def test_a_server_that_knows_no_drafts_gets_edits_in_private_too() -> None:
    async with rigged() as rig:
        rig.fake.missing = {"sendMessageDraft"}
        reply = await asked(rig)
        await reply.preview("今")
        rig.now += 2
        await reply.preview("今天")
        assert rig.fake.said(XIAOMING) == ["今天"]
        await say(reply, "今天天气真好。")
        assert rig.fake.said(XIAOMING) == ["今天天气真好。"]


async def test_a_draft_that_is_refused_is_followed_by_edits() -> None:
    async with rigged() as rig:
        rig.fake.group(GROUP)
        bot, inbound, _ = await rig.heard(GROUP, "@XiaoBaoBot 你好", XIAOMING)
        reply = bot.open_reply(replace_private(inbound))
        await reply.preview("今")
        rig.now += 2
        await reply.preview("今天")
        assert rig.fake.said(GROUP) == ["今天"]


def replace_private(inbound: Inbound) -> Inbound:
    """As if Telegram called a group private."""
    return replace(inbound, reply_to={**inbound.reply_to, "private": True})


async def test_in_a_group_a_reply_grows_by_few_edits_and_points_at_the_question() -> None:
    async with rigged() as rig:
        reply = await asked(rig, GROUP)
        question = max(rig.fake.rooms[GROUP].said)
        await reply.preview("从")
        assert rig.fake.said(GROUP) == []  # it may be ready at once
        for seconds, text in [(1.5, "从前"), (1.5, "从前有"), (1.5, "从前有座"), (1.5, "从前有座山")]:
            rig.now += seconds
            await reply.preview(text)
        assert rig.fake.said(GROUP) == ["从前有座山"]
        assert counted(rig, "editMessageText") == 1
        await say(reply, "从前有座山，山里有座庙。", "庙里有个老和尚。", feedback_id="fb-1")
        first, second = rig.fake.own(GROUP)
        assert (first["text"], second["text"]) == ("从前有座山，山里有座庙。", "庙里有个老和尚。")
        assert first["reply_to_message"]["message_id"] == question
        assert "reply_to_message" not in second
        assert ("reply_markup" in first, "reply_markup" in second) == (False, True)
        assert not [key for key in rig.kept.values if "shown" in key]


async def test_what_is_shown_already_in_full_becomes_the_answer() -> None:
    async with rigged() as rig:
        reply = await asked(rig, GROUP)
        rig.now += 2
        await reply.preview("好")
        await say(reply, "好")
        assert rig.fake.said(GROUP) == ["好"]


async def test_when_the_message_shown_was_deleted_the_answer_is_a_new_one() -> None:
    async with rigged() as rig:
        reply = await asked(rig, FORUM)
        rig.now += 2
        await reply.preview("从前")
        del rig.fake.rooms[FORUM].said[rig.fake.own(FORUM)[0]["message_id"]]
        await say(reply, "从前有座山。")
        assert not [key for key in rig.kept.values if "shown" in key]
        assert [(each["text"], each["message_thread_id"]) for each in rig.fake.own(FORUM)] == [
            ("从前有座山。", 5)
        ]


async def test_when_the_question_was_deleted_it_is_answered_all_the_same() -> None:
    async with rigged() as rig:
        reply = await asked(rig, GROUP)
        rig.fake.rooms[GROUP].said.clear()
        await say(reply, "好")
        assert rig.fake.said(GROUP) == ["好"]


async def test_after_a_crash_the_message_that_was_shown_becomes_the_answer() -> None:
    async with rigged() as rig:
        rig.fake.group(GROUP)
        _, inbound, reply = await rig.heard(GROUP, "@XiaoBaoBot 你好", XIAOMING)
        rig.now += 2
        await reply.preview("从前有")
        other = await rig.started()
        again = other.open_reply(inbound)
        sent = await again.send("从前有座山。", index=0, final=True, feedback_id=None)
        # It ended once more, before anybody knew that the chunk had been sent.
        third = (await rig.started()).open_reply(inbound)
        assert await say(third, "从前有座山。") == [sent]
        assert rig.fake.said(GROUP) == ["从前有座山。"]


async def test_a_preview_that_cannot_be_noted_does_not_hold_up_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(key: str, value: Any) -> None:
        raise StoreError("the database is gone")

    async with rigged() as rig:
        reply = await asked(rig, GROUP)
        rig.now += 2
        monkeypatch.setattr(rig.kept, "set", broken)
        await reply.preview("从前")
        monkeypatch.undo()
        await say(reply, "从前有座山。")
        assert rig.fake.said(GROUP) == ["从前有座山。"]


async def test_a_reply_that_was_stopped_leaves_what_was_shown() -> None:
    async with rigged() as rig:
        reply = await asked(rig, GROUP)
        rig.now += 2
        await reply.preview("从前有")
        await reply.close()
        assert rig.fake.said(GROUP) == ["从前有"]
        assert not [key for key in rig.kept.values if "shown" in key]


@pytest.mark.parametrize(("chat", "method"), [(XIAOMING, "sendMessageDraft"), (GROUP, "sendMessage")])
async def test_a_preview_that_is_cancelled_does_not_come_after_the_answer(chat: int, method: str) -> None:
    async with rigged() as rig:
        reply = await asked(rig, chat)
        rig.now += 2
        rig.fake.held[method] = asyncio.Event()
        showing = asyncio.create_task(reply.preview("从前"))
        await rig.fake.until(lambda: counted(rig, method))
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        sending = asyncio.create_task(say(reply, "从前有座山。"))
        await asyncio.sleep(0.05)
        assert not sending.done()
        rig.fake.held.pop(method).set()
        await sending
        assert rig.fake.said(chat) == ["从前有座山。"]
        assert not rig.fake.drafts


async def test_flood_control_of_a_preview_ends_previews_and_not_the_answer() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        rig.fake.faults["sendMessageDraft"].append(30)
        await reply.preview("今")
        rig.now += 29
        await reply.preview("今天")
        await reply.typing(True)
        assert (counted(rig, "sendMessageDraft"), counted(rig, "sendChatAction")) == (1, 0)
        rig.now += 2
        await reply.preview("今天天")
        assert rig.fake.drafts[XIAOMING]["text"] == "今天天"
        await say(reply, "今天天气真好。")
        assert rig.fake.said(XIAOMING) == ["今天天气真好。"]


async def test_flood_control_of_typing_ends_typing_for_a_while() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        rig.fake.faults["sendChatAction"].append(30)
        for _ in range(3):
            await reply.typing(True)
        assert counted(rig, "sendChatAction") == 1
        rig.now += 31
        await reply.typing(True)
        assert counted(rig, "sendChatAction") == 2


@pytest.mark.parametrize("chat", [XIAOMING, GROUP])
async def test_flood_control_of_the_answer_says_when_it_can_be_sent(chat: int) -> None:
    async with rigged() as rig:
        reply = await asked(rig, chat)
        rig.now += 2
        await reply.preview("今")
        rig.fake.faults["sendMessage"].append(17)
        rig.fake.faults["editMessageText"].append(17)
        with pytest.raises(RetryLater) as later:
            await reply.send("今天天气真好。", index=0, final=True, feedback_id=None)
        assert later.value.after == 17
        await say(reply, "今天天气真好。")
        assert rig.fake.said(chat) == ["今天天气真好。"]


async def test_who_has_blocked_the_bot_is_left_alone() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        rig.fake.block(XIAOMING)
        await reply.preview("今")
        await reply.preview("今天")
        assert counted(rig, "sendMessageDraft") == 1
        with pytest.raises(Blocked, match="bot was blocked by the user"):
            await say(reply, "今天天气真好。")


async def test_a_chat_that_is_gone_takes_nothing_any_more() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        rig.fake.rooms.clear()
        with pytest.raises(Blocked, match="Chat not found"):
            await say(reply, "好")


async def test_a_message_may_have_4096_utf16_units_and_no_more() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        await reply.send("😀" * 2048, index=0, final=False, feedback_id=None)
        with pytest.raises(Rejected, match="Message is too long"):
            await reply.send("😀" * 2048 + "好", index=1, final=True, feedback_id=None)
        assert rig.fake.said(XIAOMING) == ["😀" * 2048]


@pytest.mark.parametrize("fault", ["lose the answer", "hang up", "500", "502", "403", "404", "not json"])
async def test_when_nobody_knows_whether_it_arrived_that_is_what_is_said(fault: Any) -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        rig.fake.faults["sendMessage"].append(fault)
        with pytest.raises(Exception) as unknown:
            await say(reply, "好")
        assert not isinstance(unknown.value, AdapterError)
        assert rig.fake.token not in repr(unknown.value)


async def test_what_surely_did_not_arrive_is_sent_again() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        port = int(rig.fake.url.rpartition(":")[2])
        await rig.server.aclose()
        with pytest.raises(RetryLater, match="cannot be reached"):
            await reply.send("好", index=0, final=True, feedback_id=None)
        async with rig.fake.running(port):
            await say(reply, "好")
        assert rig.fake.said(XIAOMING) == ["好"]


async def test_a_token_that_is_revoked_meanwhile_loses_no_answer() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        rig.fake.token = "4242:AAnotherTokenAnotherTokenAnother"
        await reply.preview("今")
        with pytest.raises(RetryLater, match="does not take the bot's token"):
            await reply.send("好", index=0, final=True, feedback_id=None)


async def test_text_that_looks_like_markup_stays_as_it_is() -> None:
    async with rigged() as rig:
        reply = await asked(rig)
        await say(reply, "*不* _是_ [链接](x) <b>吗</b>.!")
        assert rig.fake.said(XIAOMING) == ["*不* _是_ [链接](x) <b>吗</b>.!"]
        assert all("parse_mode" not in fields for _, fields in rig.fake.calls)
