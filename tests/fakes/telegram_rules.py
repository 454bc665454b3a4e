"""What the Bot API takes: methods and their parameters, texts, buttons; and how Telegram reads texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]

_MAX_TEXT = 4096  # UTF-16 units
DEFAULT = {"message", "edited_message", "channel_post", "callback_query", "my_chat_member", "inline_query"}
TYPES = {*DEFAULT, "edited_channel_post", "message_reaction", "message_reaction_count", "chat_member", "poll",
          "poll_answer", "chat_join_request", "stopped_message_generation"}  # fmt: skip
ACTIONS = {"typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice", "find_location",
            "upload_document", "choose_sticker", "record_video_note", "upload_video_note"}  # fmt: skip

SCOPES = {"default", "all_private_chats", "all_group_chats", "all_chat_administrators", "chat", "chat_administrators",
           "chat_member"}  # fmt: skip
_TEXT = {"text": str, "parse_mode": str, "entities": list, "link_preview_options": dict}
_TO = {"chat_id": int, "message_thread_id": int}
_SENT = {
    "disable_notification": bool,
    "protect_content": bool,
    "reply_parameters": dict,
    "reply_markup": dict,
}
# What each method takes, and what it must be given.
METHODS: dict[str, tuple[dict[str, type], set[str]]] = {
    "getMe": ({}, set()),
    "getUpdates": ({"offset": int, "limit": int, "timeout": int, "allowed_updates": list}, set()),
    "setWebhook": ({"url": str, "max_connections": int, "allowed_updates": list, "drop_pending_updates": bool,
                    "secret_token": str, "ip_address": str}, {"url"}),
    "deleteWebhook": ({"drop_pending_updates": bool}, set()),
    "getWebhookInfo": ({}, set()),
    "setMyCommands": ({"commands": list, "scope": dict, "language_code": str}, {"commands"}),
    "getMyCommands": ({"scope": dict, "language_code": str}, set()),
    "sendMessage": ({**_TO, **_TEXT, **_SENT}, {"chat_id", "text"}),
    "sendMessageDraft": ({**_TO, "draft_id": int, "text": str, "parse_mode": str, "entities": list,
                          "can_stop": bool, "keep_on_stop": bool}, {"chat_id", "draft_id"}),
    "sendChatAction": ({**_TO, "action": str}, {"chat_id", "action"}),
    "editMessageText": ({"chat_id": int, "message_id": int, **_TEXT, "reply_markup": dict},
                        {"chat_id", "message_id", "text"}),
    "editMessageReplyMarkup": ({"chat_id": int, "message_id": int, "reply_markup": dict}, {"chat_id", "message_id"}),
    "deleteMessage": ({"chat_id": int, "message_id": int}, {"chat_id", "message_id"}),
    "answerCallbackQuery": ({"callback_query_id": str, "text": str, "show_alert": bool, "url": str,
                             "cache_time": int},
                            {"callback_query_id"}),
}  # fmt: skip


class Refusal(Exception):
    """What Telegram answers instead of a result."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


def utf16(text: str) -> int:
    """UTF-16 code units, by which Telegram counts."""
    return len(text.encode("utf-16-le")) // 2


def check_text(fields: Json) -> str:
    """The text as it will stand."""
    text = str(fields["text"]).strip()
    if not text:
        raise Refusal(400, "Bad Request: message text is empty")
    if utf16(text) > _MAX_TEXT:
        raise Refusal(400, "Bad Request: message is too long")
    mode = fields.get("parse_mode", "")
    if mode.lower() not in ("", "markdown", "markdownv2", "html"):
        raise Refusal(400, "Bad Request: unsupported parse_mode")
    if mode.lower() == "markdownv2" and (found := re.search(r"(?<!\\)[#+\-=|{}.!]", text)):
        raise Refusal(400, f"Bad Request: can't parse entities: Character '{found[0]}' is reserved and must be "
                           "escaped with the preceding '\\'")  # fmt: skip
    return text


def check_buttons(markup: Json | None) -> None:
    """Inline keyboards with data that Telegram takes."""
    for row in (markup or {}).get("inline_keyboard", []):
        for button in row:
            if not button.get("text"):
                raise Refusal(
                    400, "Bad Request: can't parse inline keyboard button: Text buttons are unallowed"
                )
            if not 1 <= len(button.get("callback_data", "").encode()) <= 64:
                raise Refusal(400, "Bad Request: BUTTON_DATA_INVALID")


def check_commands(commands: list[Json]) -> None:
    """The entries of a menu."""
    if len(commands) > 100:
        raise Refusal(400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
    for each in commands:
        if not isinstance(each, dict) or not {"command", "description"} <= each.keys():
            raise Refusal(400, "Bad Request: can't parse BotCommand")
        if not re.fullmatch(r"[a-z0-9_]{1,32}", each["command"]):
            raise Refusal(400, "Bad Request: BOT_COMMAND_INVALID")
        if not 1 <= len(each["description"]) <= 256:
            raise Refusal(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")


def find_entities(text: str) -> list[Json]:
    """Commands and mentions."""
    found = []
    for match in re.finditer(r"(?<![\w/@])(/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?|@[A-Za-z0-9_]{3,32})", text):
        kind = "bot_command" if match[0].startswith("/") else "mention"
        found.append({"type": kind, "offset": utf16(text[: match.start()]), "length": utf16(match[0])})
    return found


def read_fields(method: str, kind: str, body: bytes) -> Json:
    """The parameters in their types, from any of the three forms that the Bot API takes."""
    known, needed = METHODS[method]
    fields = {name: read_value(method, name, value, known) for name, value in raw_fields(kind, body).items()}
    for name in needed - fields.keys():
        raise Refusal(400, f"Bad Request: parameter {name} is required")
    return fields


def raw_fields(kind: str, body: bytes) -> Json:
    if kind.startswith("application/json"):
        return {name: value for name, value in json.loads(body or b"{}").items() if value is not None}
    if kind.startswith("multipart/form-data"):
        parts = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body).get_payload()
        assert isinstance(parts, list)
        return {str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True).decode()
                for part in parts}  # fmt: skip
    return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body)))


def read_value(method: str, name: str, value: Any, known: Mapping[str, type]) -> Any:
    """A value of the type that the method wants; all but texts may come as JSON in a text."""
    if name not in known:
        raise Refusal(400, f"Bad Request: {method} has no parameter {name}")
    if known[name] is not str and isinstance(value, str):
        try:
            value = json.loads(value.lower() if known[name] is bool else value)
        except ValueError:
            raise Refusal(400, f"Bad Request: can't parse {name}") from None
    if not isinstance(value, known[name]) or (known[name] is int and isinstance(value, bool)):
        raise Refusal(400, f"Bad Request: {name} has the wrong type")
    return value
