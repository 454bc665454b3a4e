from __future__ import annotations

from typing import Any

import pytest
from telegram_rig import Rig, rigged

from chatgpt2.adapter import Inbound
from chatgpt2.commands import SHARED
from chatgpt2.errors import StoreError

XIAOMING, XIAOHONG, GROUP, FORUM = 7, 8, -1001, -1002
ME = {"id": 4242, "is_bot": True, "first_name": "小宝", "username": "XiaoBaoBot"}


async def test_what_a_person_says_is_stored_and_can_be_answered() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        async with rig.polling() as bot:
            said = rig.fake.say(XIAOMING, "你好")
            (inbound,) = await rig.box.first(1)
            reply = bot.open_reply(inbound)
            sent = await reply.send("你好！", index=0, final=True, feedback_id=None)
            await reply.close()
        assert inbound == Inbound(
            "telegram",
            "4242",
            "7",
            "7",
            f"7:{said['message_id']}",
            "你好",
            sent_at=said["date"],
            reply_to={"chat": 7, "thread": None, "message": said["message_id"], "private": True},
        )
        assert rig.fake.said(XIAOMING) == ["你好！"]
        assert sent == f"7:{rig.fake.own(XIAOMING)[0]['message_id']}"


async def test_telegram_is_told_that_an_update_arrived_only_when_it_is_stored() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        rig.fake.say(XIAOMING, "一")
        rig.fake.say(XIAOMING, "二")
        rig.box.broken = True
        bot = await rig.started()
        with pytest.raises(StoreError):
            await bot.run()
        assert not rig.kept.values
        assert len(rig.fake.updates) == 2
        rig.box.broken = False
        async with rig.polling():
            assert [each.text for each in await rig.box.first(2)] == ["一", "二"]
            await rig.fake.until(lambda: not rig.fake.updates)


async def test_after_a_crash_what_comes_again_is_known_and_nothing_is_missing() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        async with rig.polling():
            rig.fake.say(XIAOMING, "一")
            await rig.box.first(1)
            await rig.fake.until(lambda: not rig.fake.updates)
            asked = dict(rig.kept.values)
        rig.fake.say(XIAOMING, "二")
        async with rig.polling():
            await rig.box.first(2)
        rig.kept.values = asked  # it ended after "二" was stored, before the cursor was
        async with rig.polling():
            rig.fake.say(XIAOMING, "三")
            assert [each.text for each in await rig.box.first(3)] == ["一", "二", "三"]


async def test_when_telegram_counts_anew_after_a_quiet_week_nothing_is_missed() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        async with rig.polling():
            rig.fake.say(XIAOMING, "上周见")
            await rig.box.first(1)
            await rig.fake.until(lambda: not rig.fake.updates)
        rig.now += 8 * 24 * 3600
        rig.fake.next_update = 1000
        rig.fake.say(XIAOMING, "好久不见")
        async with rig.polling():
            assert (await rig.box.first(2))[1].text == "好久不见"


async def test_an_update_that_the_library_cannot_read_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        async with rig.polling():
            rig.fake.push("message", {"message_id": "?", "date": "tomorrow", "chat": 3})
            rig.fake.push("stopped_message_generation", {"chat": "?"})
            rig.fake.say(XIAOMING, "你好")
            assert (await rig.box.first(1))[0].text == "你好"
        assert "cannot be read and is passed over" in caplog.text
        assert "is passed over: TypeError" in caplog.text


def mention(offset: int, length: int, user: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "text_mention", "offset": offset, "length": length, "user": user}]


@pytest.mark.parametrize(
    ("said", "fields", "text", "addressed"),
    [
        ("@XiaoBaoBot 你好", {}, "你好", True),
        ("你好 @xiaobaobot", {}, "你好", True),
        ("问问 @XiaoBaoBot 天气", {}, "问问 天气", True),
        ("😀😀 @XiaoBaoBot 你好", {}, "😀😀 你好", True),
        ("小宝 你好", {"entities": mention(0, 2, ME)}, "你好", True),
        ("/help", {}, "/help", True),
        ("/help@xiaobaobot", {}, "/help", True),
        ("/persona@XiaoBaoBot 老师 严厉", {}, "/persona 老师 严厉", True),
        ("大家好", {}, "大家好", False),
        ("@XiaoHong 你好", {}, "@XiaoHong 你好", False),
        ("说说 /help 吧", {}, "说说 /help 吧", False),
        ("小红你好", {"entities": mention(0, 2, {**ME, "id": 9, "is_bot": False})}, "小红你好", False),
    ],
)
async def test_in_a_group_it_is_clear_who_is_meant(
    said: str, fields: dict[str, Any], text: str, addressed: bool
) -> None:
    async with rigged(sees_all=True) as rig:
        rig.fake.group(GROUP)
        _, inbound, _ = await rig.heard(GROUP, said, XIAOMING, **fields)
        assert (inbound.text, inbound.addressed, inbound.to_bot) == (text, addressed, False)
        assert (inbound.is_group, inbound.chat_id, inbound.user_id) == (True, str(GROUP), str(XIAOMING))


async def only_last(rig: Rig, *unheard: tuple[str, dict[str, Any]]) -> None:
    """Of these in a group, followed by "好", nothing but "好" is stored."""
    rig.fake.group(GROUP)
    async with rig.polling():
        for text, fields in unheard:
            rig.fake.say(GROUP, text, XIAOMING, **fields)
        rig.fake.say(GROUP, "好", XIAOMING)
        assert (await rig.box.first(1))[0].text == "好"


async def test_what_is_not_for_the_bot_is_not_stored() -> None:
    bot = {"id": 99, "is_bot": True, "first_name": "别的机器人"}
    async with rigged(sees_all=True) as rig:
        await only_last(
            rig,
            ("/help@OtherBot", {}),
            ("", {"new_chat_members": [bot]}),
            ("", {"new_chat_title": "新群名"}),
            ("我也是机器人", {"from": bot}),
            (
                "频道的话",
                {
                    "sender_chat": {"id": -1009, "type": "channel", "title": "频道"},
                    "is_automatic_forward": True,
                },
            ),
        )


async def test_who_answers_the_bot_is_heard_though_it_is_not_called() -> None:
    async with rigged() as rig:
        rig.fake.group(GROUP)
        _, _, reply = await rig.heard(GROUP, "@XiaoBaoBot 讲个笑话", XIAOMING)
        await reply.send("从前有座山。", index=0, final=True, feedback_id=None)
        (joke,) = rig.fake.own(GROUP)
        _, inbound, _ = await rig.heard(GROUP, "不好笑", XIAOHONG, reply_to_message=joke)
        assert (inbound.text, inbound.to_bot, inbound.addressed) == ("不好笑", True, False)


async def test_an_anonymous_admin_is_answered_as_the_group() -> None:
    hidden = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    async with rigged(sees_all=True) as rig:
        room = rig.fake.group(GROUP)
        _, inbound, _ = await rig.heard(
            GROUP, "你好", XIAOMING, **{"from": hidden, "sender_chat": room.about}
        )
        assert (inbound.text, inbound.user_id) == ("你好", str(GROUP))


async def test_each_topic_of_a_forum_is_a_conversation() -> None:
    async with rigged() as rig:
        rig.fake.group(FORUM, topics=(3, 5))
        _, inbound, reply = await rig.heard(FORUM, "/start", XIAOMING, message_thread_id=5)
        assert (inbound.chat_id, inbound.thread_id) == (str(FORUM), "5")
        await reply.send("好", index=0, final=True, feedback_id=None)
        assert rig.fake.own(FORUM)[0]["message_thread_id"] == 5


async def test_a_thread_of_replies_is_no_topic() -> None:
    async with rigged() as rig:
        rig.fake.group(GROUP)
        _, inbound, reply = await rig.heard(GROUP, "/start", XIAOMING, message_thread_id=5)
        assert inbound.thread_id == ""
        await reply.send("好", index=0, final=True, feedback_id=None)
        assert "message_thread_id" not in rig.fake.own(GROUP)[0]


async def test_a_picture_is_passed_on_as_something_that_cannot_be_read() -> None:
    photo = [{"file_id": "a", "file_unique_id": "b", "width": 1, "height": 1}]
    async with rigged(sees_all=True) as rig:
        rig.fake.person(XIAOMING)
        _, inbound, _ = await rig.heard(XIAOMING, "", photo=photo)
        assert (inbound.kind, inbound.text, inbound.addressed) == ("unsupported", "", True)
        rig.fake.group(GROUP)
        called = [{"type": "mention", "offset": 0, "length": 11}]
        _, inbound, _ = await rig.heard(
            GROUP, "", XIAOMING, photo=photo, caption="@XiaoBaoBot 看", caption_entities=called
        )
        assert (inbound.kind, inbound.text, inbound.addressed) == ("unsupported", "", True)
        _, inbound, _ = await rig.heard(GROUP, "", XIAOMING, photo=photo)
        assert (inbound.kind, inbound.addressed) == ("unsupported", False)


@pytest.mark.parametrize("answer_edits", [True, False])
async def test_an_edited_message_is_answered_anew_unless_it_must_not(answer_edits: bool) -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        async with rig.polling(answer_edits=answer_edits):
            said = rig.fake.say(XIAOMING, "你耗")
            rig.fake.edit(said, "你好")
            rig.fake.edit(said, "你好吗")
            rig.fake.say(XIAOMING, "在吗")
            got = await rig.box.first(4 if answer_edits else 2)
        assert [each.text for each in got] == (
            ["你耗", "你好", "你好吗", "在吗"] if answer_edits else ["你耗", "在吗"]
        )
        assert len({each.message_id for each in got}) == len(got)


async def test_a_group_that_becomes_a_supergroup_keeps_its_conversation() -> None:
    async with rigged(sees_all=True) as rig:
        rig.fake.group(-55, kind="group")
        _, before, late = await rig.heard(-55, "你好", XIAOMING)
        async with rig.polling():
            rig.fake.migrate(-55, GROUP)
            rig.fake.say(GROUP, "还在吗", XIAOMING)
            after = await rig.box.one()
        assert before.chat_id == after.chat_id == "-55"
        assert after.reply_to["chat"] == GROUP
        sent = await late.send("来了", index=0, final=True, feedback_id=None)
        assert [(f"{GROUP}:{each['message_id']}", each["text"]) for each in rig.fake.own(GROUP)] == [
            (sent, "来了")
        ]


async def test_a_migration_that_nobody_announced_is_learnt_when_something_is_sent() -> None:
    async with rigged(sees_all=True) as rig:
        rig.fake.group(-55, kind="group")
        _, _, late = await rig.heard(-55, "你好", XIAOMING)
        rig.fake.migrate(-55, GROUP, announced=False)
        await late.send("来了", index=0, final=True, feedback_id=None)
        _, inbound, _ = await rig.heard(GROUP, "还在吗", XIAOMING)
        assert inbound.chat_id == "-55"


async def test_the_buttons_under_a_reply_are_feedback_and_are_thanked_for() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        _, _, reply = await rig.heard(XIAOMING, "你好")
        await reply.send("你好！", index=0, final=True, feedback_id="fb-17")
        (answer,) = rig.fake.own(XIAOMING)
        async with rig.polling() as bot:
            query = rig.fake.press(answer, "👎")
            got = await rig.box.one()
            await rig.fake.until(lambda: query in rig.fake.thanked)
        assert (got.kind, got.text, got.about, got.user_id) == ("feedback", "down", "fb-17", "7")
        await bot.open_reply(got).send("记下了。", index=0, final=True, feedback_id=None)
        assert rig.fake.thanked[query] == "谢谢，记下了。"


async def test_a_button_of_another_program_is_let_go_in_silence() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        message = rig.fake._message(XIAOMING, {"from": ME, "text": "?"})
        message["reply_markup"] = {"inline_keyboard": [[{"text": "买", "callback_data": "buy:1"}]]}
        async with rig.polling():
            query = rig.fake.press(message, "买")
            await rig.fake.until(lambda: query in rig.fake.thanked)
        assert (rig.box.got, rig.fake.thanked[query]) == ([], "")


async def test_a_button_pressed_too_long_ago_is_still_feedback() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        _, _, reply = await rig.heard(XIAOMING, "你好")
        await reply.send("你好！", index=0, final=True, feedback_id="fb-17")
        async with rig.polling():
            rig.fake.press(rig.fake.own(XIAOMING)[0], "👍")
            rig.fake.pending.clear()
            assert (await rig.box.one()).text == "up"


async def test_reactions_are_feedback_when_they_say_something() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        _, _, reply = await rig.heard(XIAOMING, "你好")
        sent = await reply.send("你好！", index=0, final=True, feedback_id=None)
        (answer,) = rig.fake.own(XIAOMING)
        async with rig.polling():
            for old, new in [("", "❤"), ("❤", "👎"), ("👎", ""), ("", "🤔")]:
                rig.fake.react(answer, old, new)
            rig.fake.say(XIAOMING, "好")
            got = await rig.box.first(4)
        assert [(each.kind, each.text) for each in got] == [
            ("feedback", "up"),
            ("feedback", "down"),
            ("feedback", ""),
            ("text", "好"),
        ]
        assert {each.about for each in got[:3]} == {sent}


async def test_the_stop_button_of_a_draft_stops_the_conversations_reply() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        _, said, reply = await rig.heard(XIAOMING, "讲个长故事")
        await reply.preview("从前有座山")
        async with rig.polling():
            rig.fake.press_stop(XIAOMING)
            got = await rig.box.one()
        assert (got.kind, got.chat_id, got.thread_id, got.reply_to) == ("stop", "7", "", said.reply_to)


async def test_the_menu_of_commands_is_set_once_and_when_it_has_changed() -> None:
    def times() -> int:
        return [method for method, _ in rig.fake.calls].count("setMyCommands")

    async with rigged() as rig:
        rig.commands = SHARED
        for _ in range(2):
            asked = len(rig.fake.calls)
            async with rig.polling():
                await rig.fake.until(lambda: "getUpdates" in dict(rig.fake.calls[asked:]))  # noqa: B023
        assert times() == 1
        menu = {each["command"]: each["description"] for each in rig.fake.menus["default", ""]}
        assert menu["reset"] == "重新开始，前面的话只留在记录里" and len(menu) == len(SHARED)
        rig.commands = SHARED[:3]
        rig.fake.faults["setMyCommands"].append(5)
        asked = len(rig.fake.calls)
        async with rig.polling():  # flood control is no reason not to run
            await rig.fake.until(lambda: "getUpdates" in dict(rig.fake.calls[asked:]))
        assert (times(), len(rig.fake.menus["default", ""])) == (2, len(SHARED))
        async with rig.polling():
            await rig.fake.until(lambda: len(rig.fake.menus["default", ""]) == 3)
        assert times() == 3
