"""The adapter's pacing is held against flood control as Telegram has it."""

from __future__ import annotations

import pytest
from fakes.telegram_flood import Flood
from telegram_rig import rigged

from chatgpt2.adapter import RetryLater

GROUP = -1001


@pytest.mark.parametrize("chat", [7, GROUP], ids=["private", "group"])
async def test_a_long_answer_that_grows_by_edits_is_never_asked_for_a_pause(chat: int) -> None:
    """Three minutes in which the model says something twice a second, by the adapter's clock."""
    async with rigged(sees_all=True) as rig:
        rig.fake.missing = {"sendMessageDraft"}
        rig.fake.person(7)
        rig.fake.group(GROUP)
        flood = rig.fake.flood = Flood(lambda: rig.now)
        _, _, reply = await rig.heard(chat, "讲个长故事", 7)
        text = ""
        for each in range(360):
            text, rig.now = f"{text}字{each % 10}", rig.now + 0.5
            if each % 8 == 0:
                await reply.typing(True)
            await reply.preview(text)
        await reply.send(text, index=0, final=True, feedback_id="f")
        await reply.close()
        edits = [method for method, _ in rig.fake.calls].count("editMessageText")
        assert flood.refused == 0 and edits > 40 and rig.fake.said(chat) == [text]


async def test_drafts_of_many_chats_stay_below_what_a_bot_may_call() -> None:
    """Ten a second over all, which the gateway keeps to, leave room for the answers."""
    async with rigged() as rig:
        rig.fake.person(7)
        flood = rig.fake.flood = Flood(lambda: rig.now)
        _, _, reply = await rig.heard(7, "你好")
        for each in range(100):
            rig.now += 0.1
            await reply.preview("字" * (each + 1))
        await reply.send("字", index=0, final=True, feedback_id=None)
        assert flood.refused == 0 and len(rig.fake.said(7)) == 1


async def test_what_is_too_much_is_refused_for_a_while_and_comes_later() -> None:
    async with rigged(sees_all=True) as rig:
        rig.fake.person(7)
        rig.fake.group(GROUP)
        flood = rig.fake.flood = Flood(lambda: rig.now)
        for chat, most, pause in ((7, 3, 3), (GROUP, 20, 60)):
            _, _, reply = await rig.heard(chat, "你好", 7)
            for index in range(most):
                await reply.send(f"第{index}段", index=index, final=False, feedback_id=None)
            with pytest.raises(RetryLater) as later:
                await reply.send("最后一段", index=most, final=True, feedback_id=None)
            assert later.value.after == pause
            rig.now += pause
            await reply.send("最后一段", index=most, final=True, feedback_id=None)
            assert len(rig.fake.said(chat)) == most + 1
        assert flood.refused == 2
