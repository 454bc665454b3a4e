"""Clients that others wrote take the fakes for the platforms, so the fakes are like the platforms and not like us."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)
from aiogram.types import (
    BotCommand,
    CallbackQuery,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Message,
    MessageReactionUpdated,
    ReactionTypeEmoji,
)
from fakes.foreign import running
from fakes.ilink import BOT, OWNER, FakeIlink
from fakes.loopback import serving
from fakes.telegram import GROUP, XIAOMING, FakeTelegram
from fakes.wecom_line import BOT as LINE_BOT
from fakes.wecom_line import SECRET as LINE_SECRET
from fakes.wecom_line import FakeLine

from chatgpt2.bots.tencent.envelope import Envelope, signature


def aiogram(fake: FakeTelegram, token: str = "") -> Bot:
    return Bot(token or fake.token, AiohttpSession(api=TelegramAPIServer.from_base(fake.url)))


async def people_talk(fake: FakeTelegram) -> None:
    """Two say something; one of them reacts to the answer and presses its button."""
    fake.say(XIAOMING, "你好")
    fake.say(GROUP, "/help@XiaoBaoBot", XIAOMING)
    await fake.until(lambda: fake.said(XIAOMING) == ["听到：你好"])
    await fake.until(lambda: fake.said(GROUP) == ["听到：/help@XiaoBaoBot"])
    (answer,) = fake.own(XIAOMING)
    assert answer["reply_to_message"]["text"] == "你好"
    fake.react(answer, "", "👍")
    fake.press(answer, "👍")


async def test_a_bot_of_aiogram_runs_on_it(fake: FakeTelegram) -> None:
    heard: list[Any] = []
    dispatcher = Dispatcher()

    async def answer(message: Message) -> None:
        heard.append((message.chat.type, message.text, [each.type for each in message.entities or []]))
        keyboard = [[InlineKeyboardButton(text="👍", callback_data="up:1")]]
        markup = InlineKeyboardMarkup(inline_keyboard=keyboard)
        sent = await message.reply(message.text or "", reply_markup=markup)
        await sent.edit_text(f"听到：{message.text}", reply_markup=markup)

    async def react(reaction: MessageReactionUpdated) -> None:
        heard.extend(each.emoji for each in reaction.new_reaction if isinstance(each, ReactionTypeEmoji))

    async def press(query: CallbackQuery) -> None:
        heard.append(query.data)
        await query.answer("谢谢")

    dispatcher.message.register(answer)
    dispatcher.message_reaction.register(react)
    dispatcher.callback_query.register(press)
    async with aiogram(fake) as bot, asyncio.timeout(60):
        wanted = dispatcher.resolve_used_update_types()
        polling = asyncio.create_task(
            dispatcher.start_polling(bot, polling_timeout=2, handle_signals=False, allowed_updates=wanted)
        )
        await people_talk(fake)
        await fake.until(lambda: list(fake.thanked.values()) == ["谢谢"])
        await fake.until(lambda: not fake.updates)  # all are confirmed by the next question
        await dispatcher.stop_polling()
        await polling
    assert sorted(heard, key=str) == [
        ("private", "你好", []),
        ("supergroup", "/help@XiaoBaoBot", ["bot_command"]),
        "up:1",
        "👍",
    ]


async def test_aiogram_understands_what_is_refused(fake: FakeTelegram) -> None:
    async with aiogram(fake) as bot:
        await bot.set_my_commands([BotCommand(command="help", description="帮助")])
        assert [each.command for each in await bot.get_my_commands()] == ["help"]
        await bot.send_message_draft(XIAOMING, draft_id=1, text="从前")
        assert fake.drafts[XIAOMING]["text"] == "从前"
        with pytest.raises(TelegramBadRequest, match="chat not found"):
            await bot.send_message(999, "好")
        with pytest.raises(TelegramBadRequest, match="message is too long"):
            await bot.send_message(XIAOMING, "😀" * 2049)
        fake.faults["sendMessage"].extend([7, "blocked"])
        with pytest.raises(TelegramRetryAfter) as flood:
            await bot.send_message(XIAOMING, "好")
        assert flood.value.retry_after == 7
        with pytest.raises(TelegramForbiddenError, match="blocked by the user"):
            await bot.send_message(XIAOMING, "好")
        assert await bot.set_webhook("https://a.example/hook", secret_token="abc")
        assert (await bot.get_webhook_info()).url == "https://a.example/hook"
    async with aiogram(fake, "4242:AAnotherTokenAnotherToken") as bot:
        with pytest.raises(TelegramUnauthorizedError):
            await bot.get_me()


async def test_a_bot_of_grammy_runs_on_it(fake: FakeTelegram) -> None:
    fake.faults["sendMessage"].append(3)
    async with running("grammy.mjs", fake.url, fake.token, env=os.environ) as program:
        assert await program.hear() == ["flood", 429, 3]
        assert [each["command"] for each in fake.menus["default", ""]] == ["help"]
        await people_talk(fake)
        heard = [await program.hear() for _ in range(8)]
        await program.end()
    refused = [
        ["refused", 400, "Bad Request: chat not found"],
        ["refused", 400, "Bad Request: message is too long"],
    ]
    assert heard == [
        ["message", "private", "小明", "你好", 0],
        *refused,
        ["message", "supergroup", "小明", "/help@XiaoBaoBot", 1],
        *refused,
        ["reaction", ["👍"]],
        ["pressed", "up:1", "听到：你好"],
    ]
    assert list(fake.thanked.values()) == ["谢谢"] and not fake.updates


async def test_tencents_own_client_runs_on_the_fake_of_ilink(tmp_path: Path) -> None:
    ilink = FakeIlink()
    async with serving(ilink.app) as ilink.url:
        ilink.say("你好", 18446744073709551615)
        env = {**os.environ, "OPENCLAW_STATE_DIR": str(tmp_path)}
        async with running("ilink.mjs", ilink.url, ilink.token, "你好呀", env=env) as program:
            said = [await program.hear() for _ in range(6)]
            await program.end()
    assert said == [
        ["start", {"ret": 0}],
        ["message", OWNER, "你好", "18446744073709551615"],
        ["sent", ["messageId", "serverMessageId"]],
        ["sent", ["messageId", "serverMessageId"]],
        ["again", 0],
        ["stop", {"ret": 0}],
    ]
    assert ilink.seen[OWNER] == ["你好呀"] * 2 and ilink.typing == [1, 2]


async def test_tencents_own_client_logs_in_at_the_fake_of_ilink(tmp_path: Path) -> None:
    ilink = FakeIlink()
    async with serving(ilink.app) as ilink.url:
        ilink.statuses.extend([{"status": "expired"}, ilink.confirmed()])
        env = {**os.environ, "OPENCLAW_STATE_DIR": str(tmp_path)}
        async with running("ilink-login.mjs", ilink.url, env=env) as program:
            assert await program.hear() == ["code", "https://x/1"]
            assert await program.hear() == ["login", True, ilink.token, BOT, OWNER, ilink.url]
            await program.end()
    assert ilink.codes == 2


async def test_tencents_own_sdk_runs_on_the_fake_of_wecoms_connection() -> None:
    async with FakeLine().running() as line:
        async with running("wecom-line.mjs", line.url, LINE_BOT, LINE_SECRET, env=os.environ) as program:
            assert await program.hear() == ["authenticated"]
            await line.say("你好", 1, "ZhangSan")
            heard = [await program.hear() for _ in range(5)]
            while not line.pings:
                await asyncio.sleep(0.01)
            [mark] = line.marks
            opinion = {"eventtype": "feedback_event", "feedback_event": {"id": mark, "type": 1}}
            await line.deliver("ZhangSan", 2, msgtype="event", event=opinion)
            assert await program.hear() == ["feedback", {"id": "f1", "type": 1}]
            await program.end()
        async with running("wecom-line.mjs", line.url, LINE_BOT, "wrong", env=os.environ) as program:
            assert (await program.hear())[0] == "error"
    assert heard == [
        ["message", "ZhangSan", "single", "你好"],
        ["grows", 0],
        ["ends", 0],
        ["over", 846608],
        ["sent", 0],
    ]
    assert line.seen["ZhangSan"] == ["你好呀", "早"] and line.frames == [("你", False), ("你好呀", True)]


@pytest.mark.parametrize("text", ["你好", "<xml><a>你好</a></xml>", "A" * 9, "A" * 26, "😀" * 500])
async def test_tencents_own_encryption_and_ours_open_one_another(text: str) -> None:
    token, key, account = "spamtest", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "wx2c2769f8efd9abc2"
    envelope = Envelope(token, key, account)
    async with running("wecom.mjs", env=os.environ) as program:
        sealed, signed = envelope.seal(text, "1409735669", "1320562132", salt=b"0123456789abcdef")
        await program.say("open", key, sealed)
        assert await program.hear() == [text, account]
        await program.say("sign", token, "1409735669", "1320562132", sealed)
        assert await program.hear() == signed
        await program.say("seal", key, text, account, "0123456789abcdef")
        assert await program.hear() == sealed
        await program.say("seal", key, text, account, "another salt 123")
        theirs = await program.hear()
        assert theirs != sealed
        signed = signature(token, "1409735669", "1320562132", theirs)
        assert envelope.open(theirs, signed, "1409735669", "1320562132") == text
