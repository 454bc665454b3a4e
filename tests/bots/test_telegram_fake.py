"""The fake Bot API refuses what Telegram refuses, and python-telegram-bot's own machinery runs on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fakes.telegram import GROUP, XIAOMING, FakeTelegram
from telegram import Update
from telegram.ext import Application, CallbackQueryHandler, ContextTypes, MessageHandler, filters


async def call(
    fake: FakeTelegram, method: str, fields: Mapping[str, Any] | None = None, token: str = ""
) -> Any:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{fake.url}/bot{token or fake.token}/{method}", json=fields or {})
    body = answer.json()
    assert body["ok"] == (answer.status_code == 200) and body.get("error_code", 200) == answer.status_code
    return body["result"] if body["ok"] else (answer.status_code, body["description"])


TO: dict[str, Any] = {"chat_id": XIAOMING}


def button(data: str) -> dict[str, Any]:
    return {"inline_keyboard": [[{"text": "x", "callback_data": data}]]}


@pytest.mark.parametrize(
    ("method", "fields", "code", "said"),
    [
        ("sendMesage", {**TO, "text": "好"}, 404, "Not Found"),
        ("sendMessage", {**TO, "txt": "好"}, 400, "sendMessage has no parameter txt"),
        ("sendMessage", TO, 400, "parameter text is required"),
        ("sendMessage", {**TO, "text": 3}, 400, "text has the wrong type"),
        ("sendMessage", {**TO, "text": " \n"}, 400, "message text is empty"),
        ("sendMessage", {**TO, "text": "😀" * 2049}, 400, "message is too long"),
        ("sendMessage", {**TO, "text": "好", "parse_mode": "rst"}, 400, "unsupported parse_mode"),
        ("sendMessage", {**TO, "text": "好.", "parse_mode": "MarkdownV2"}, 400, "can't parse entities"),
        ("sendMessage", {**TO, "text": "好", "reply_markup": button("x" * 65)}, 400, "BUTTON_DATA_INVALID"),
        ("sendMessage", {**TO, "text": "好", "message_thread_id": 3}, 400, "message thread not found"),
        (
            "sendMessage",
            {**TO, "text": "好", "reply_parameters": {"message_id": 99}},
            400,
            "replied not found",
        ),
        ("sendMessage", {"chat_id": 999, "text": "好"}, 400, "chat not found"),
        ("sendMessageDraft", {"chat_id": GROUP, "draft_id": 1, "text": "好"}, 400, "TEXTDRAFT_PEER_INVALID"),
        ("sendMessageDraft", {**TO, "draft_id": 0, "text": "好"}, 400, "RANDOM_ID_INVALID"),
        ("sendChatAction", {**TO, "action": "thinking"}, 400, "wrong parameter action"),
        ("editMessageText", {**TO, "message_id": 99, "text": "好"}, 400, "message to edit not found"),
        ("deleteMessage", {**TO, "message_id": 99}, 400, "message to delete not found"),
        ("answerCallbackQuery", {"callback_query_id": "9"}, 400, "query is too old"),
        (
            "setMyCommands",
            {"commands": [{"command": "你好", "description": "x"}]},
            400,
            "BOT_COMMAND_INVALID",
        ),
        (
            "setMyCommands",
            {"commands": [{"command": "help", "description": ""}]},
            400,
            "BOT_COMMAND_DESCRIPTION_INVALID",
        ),
        ("setMyCommands", {"commands": [{"command": "help"}]}, 400, "can't parse BotCommand"),
        ("setMyCommands", {"commands": [], "scope": {"type": "all"}}, 400, "Unsupported type specified"),
        ("setMyCommands", {"commands": [], "language_code": "chinese"}, 400, "invalid language code"),
        ("setWebhook", {"url": "http://a.example"}, 400, "An HTTPS URL must be provided"),
        ("setWebhook", {"url": "https://a.example", "secret_token": "a b"}, 400, "unallowed characters"),
        ("getUpdates", {"allowed_updates": ["mesage"]}, 400, "can't parse allowed updates"),
    ],
)
async def test_it_refuses_what_telegram_refuses(
    fake: FakeTelegram, method: str, fields: dict[str, Any], code: int, said: str
) -> None:
    status, description = await call(fake, method, fields)
    assert status == code
    assert said in description


async def test_a_token_is_unknown_or_none_at_all(fake: FakeTelegram) -> None:
    assert await call(fake, "getMe", token="4242:AAnotherTokenAnotherToken") == (401, "Unauthorized")
    assert await call(fake, "getMe", token="nonsense") == (404, "Not Found")


async def test_what_others_said_cannot_be_edited(fake: FakeTelegram) -> None:
    said = fake.say(XIAOMING, "你好")
    status, description = await call(
        fake, "editMessageText", {**TO, "message_id": said["message_id"], "text": "坏"}
    )
    assert (status, description) == (400, "Bad Request: message can't be edited")


async def test_updates_come_until_they_are_confirmed(fake: FakeTelegram) -> None:
    for text in "一二三":
        fake.say(XIAOMING, text)
    first, second, third = await call(fake, "getUpdates")
    assert await call(fake, "getUpdates") == [first, second, third]
    assert await call(fake, "getUpdates", {"limit": 1}) == [first]
    assert await call(fake, "getUpdates", {"offset": second["update_id"]}) == [second, third]
    assert await call(fake, "getUpdates", {"offset": 0}) == [second, third]
    assert await call(fake, "getUpdates", {"offset": -1}) == [third]
    assert await call(fake, "getUpdates") == [third]


async def test_updates_that_nobody_asked_for_do_not_come(fake: FakeTelegram) -> None:
    answer = await call(fake, "sendMessage", {**TO, "text": "好"})
    fake.react(answer, "", "👍")
    assert await call(fake, "getUpdates", {"allowed_updates": ["message_reaction"]}) == []
    fake.say(XIAOMING, "你好")
    fake.react(answer, "👍", "")
    (update,) = await call(fake, "getUpdates")
    assert "message_reaction" in update


async def test_in_a_group_the_bot_sees_what_is_meant_for_it(fake: FakeTelegram) -> None:
    for text in ("大家好", "@XiaoBaoBot 你好", "/help", "再见"):
        fake.say(GROUP, text, XIAOMING)
    assert [each["message"]["text"] for each in await call(fake, "getUpdates")] == [
        "@XiaoBaoBot 你好",
        "/help",
    ]


async def test_parameters_come_in_three_forms(fake: FakeTelegram) -> None:
    url = f"{fake.url}/bot{fake.token}/sendMessage"
    async with httpx.AsyncClient() as client:
        await client.post(url, json={"chat_id": XIAOMING, "text": "一"})
        await client.post(url, data={"chat_id": "7", "text": "二", "disable_notification": "True"})
        await client.post(url, files={"chat_id": (None, "7"), "text": (None, "三")})
    assert fake.said(XIAOMING) == ["一", "二", "三"]


async def test_the_librarys_own_poller_runs_on_it(fake: FakeTelegram) -> None:
    async def echo(update: Update, _: ContextTypes.DEFAULT_TYPE) -> None:
        assert update.message and update.message.text
        await update.message.reply_text(update.message.text, do_quote=True)

    async def thank(update: Update, _: ContextTypes.DEFAULT_TYPE) -> None:
        assert update.callback_query
        await update.callback_query.answer("谢谢")

    app = Application.builder().token(fake.token).base_url(f"{fake.url}/bot").build()
    app.add_handler(MessageHandler(filters.TEXT, echo))
    app.add_handler(CallbackQueryHandler(thank))
    async with app:
        assert app.updater
        await app.start()
        await app.updater.start_polling(timeout=5)
        fake.say(XIAOMING, "你好")
        await fake.until(lambda: fake.said(XIAOMING) == ["你好"])
        (answer,) = fake.own(XIAOMING)
        answer["reply_markup"] = button("up:1")
        query = fake.press(answer, "x")
        await fake.until(lambda: query in fake.thanked)
        await app.updater.stop()
        await app.stop()
    assert not fake.updates
