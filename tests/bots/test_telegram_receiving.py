from __future__ import annotations

from telegram_rig import rigged

from chatgpt2.adapter import Inbound

XIAOMING, GROUP = 7, -1001


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
