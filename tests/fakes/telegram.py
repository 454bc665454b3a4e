"""A strict fake of the Bot API (10.3): a real HTTP server that refuses what Telegram refuses, in Telegram's words.

People write through `person` and `group`; what they see is in `said`, `drafts` and `actions`. `faults` of a method
are done once each, in order.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import Any, Literal
from urllib.parse import parse_qsl

import uvicorn

Json = dict[str, Any]
# Seconds of flood control; a status of the server; the connection is closed before, or after, it is done.
Fault = int | Literal["500", "502", "hang up", "lose the answer", "not json"]

TOKEN = "4242:AAFakeFakeFakeFakeFakeFakeFakeFake0"
_MAX_TEXT = 4096  # UTF-16 units
_DEFAULT = {"message", "edited_message", "channel_post", "callback_query", "my_chat_member", "inline_query"}
_TYPES = {*_DEFAULT, "edited_channel_post", "message_reaction", "message_reaction_count", "chat_member", "poll",
          "poll_answer", "chat_join_request", "stopped_message_generation"}  # fmt: skip
_ACTIONS = {"typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice", "find_location",
            "upload_document", "choose_sticker", "record_video_note", "upload_video_note"}  # fmt: skip

_TEXT = {"text": str, "parse_mode": str, "entities": list, "link_preview_options": dict}
_TO = {"chat_id": int, "message_thread_id": int}
_SENT = {
    "disable_notification": bool,
    "protect_content": bool,
    "reply_parameters": dict,
    "reply_markup": dict,
}
# What each method takes, and what it must be given.
_METHODS: dict[str, tuple[dict[str, type], set[str]]] = {
    "getMe": ({}, set()),
    "getUpdates": ({"offset": int, "limit": int, "timeout": int, "allowed_updates": list}, set()),
    "setWebhook": ({"url": str, "max_connections": int, "allowed_updates": list, "drop_pending_updates": bool,
                    "secret_token": str, "ip_address": str}, {"url"}),
    "deleteWebhook": ({"drop_pending_updates": bool}, set()),
    "getWebhookInfo": ({}, set()),
    "setMyCommands": ({"commands": list, "scope": dict, "language_code": str}, {"commands"}),
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


class Broken(Exception):
    """There is to be no answer, or one that is not Telegram's."""


@dataclass
class Room:
    """A chat as Telegram keeps it. `said`: by message id, in order."""

    about: Json
    said: dict[int, Json] = field(default_factory=dict)
    topics: set[int] = field(default_factory=set)
    refuses: Refusal | None = None
    last_id: int = 0

    @property
    def is_private(self) -> bool:
        return bool(self.about["type"] == "private")


class FakeTelegram:
    """One bot and its chats. `sees_all`: privacy mode is off."""

    def __init__(self, token: str = TOKEN, *, username: str = "XiaoBaoBot", sees_all: bool = False) -> None:
        self.token, self.sees_all = token, sees_all
        self.me = {"id": int(token.split(":")[0]), "is_bot": True, "first_name": "小宝", "username": username}
        self.rooms: dict[int, Room] = {}
        self.calls: list[tuple[str, Json]] = []
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.held: dict[str, asyncio.Event] = {}  # methods that wait for something
        self.missing: set[str] = set()  # methods that an older server does not know
        self.drafts: dict[int, Json] = {}
        self.thanked: dict[str, str] = {}  # callback queries answered
        self.pending: dict[str, bool] = {}  # callback queries asked
        self.webhook: Json = {}
        # How an update gets to the webhook: url, headers and body; the status that came back.
        self.deliver: Callable[[str, Mapping[str, str], bytes], Awaitable[int]] | None = None
        self.updates: deque[Json] = deque()
        self.next_update = 700_000_001
        self.clock = 1_790_000_000
        self.url = ""
        self.changed = asyncio.Condition()
        self._allowed = set(_DEFAULT)
        self._poll: asyncio.Task[Any] | None = None
        self._terminated: set[asyncio.Task[Any]] = set()
        self._news = asyncio.Event()
        self._ids = 0

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[FakeTelegram]:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", port))
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            config = uvicorn.Config(
                self._asgi, interface="asgi3", log_config=None, lifespan="off", ws="none", access_log=False
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve([listening]))
            while not server.started:
                await asyncio.sleep(0.005)
            try:
                yield self
            finally:
                server.should_exit = server.force_exit = True
                self._news.set()
                await serving

    # What people do.

    def person(self, user: int, name: str = "小明") -> Json:
        """Somebody who has pressed Start."""
        about = {"id": user, "type": "private", "first_name": name}
        self.rooms.setdefault(user, Room(about))
        return {"id": user, "is_bot": False, "first_name": name}

    def group(self, chat: int, *, kind: str = "supergroup", topics: tuple[int, ...] = ()) -> Room:
        """A group that the bot is in."""
        about = {"id": chat, "type": kind, "title": "同学们", **({"is_forum": True} if topics else {})}
        return self.rooms.setdefault(chat, Room(about, topics=set(topics)))

    def say(self, chat: int, text: str, user: int = 0, **fields: Any) -> Json:
        """Somebody writes; entities are found as Telegram finds them."""
        sender = self.person(user or chat)
        entities = fields.pop("entities", None) or find_entities(text)
        message = self._message(chat, {"from": sender, **fields})
        if text:
            message |= {"text": text, **({"entities": entities} if entities else {})}
        if self._visible(message):
            self.push("message", message)
        return message

    def edit(self, message: Json, text: str) -> None:
        """Somebody changes what was said."""
        self.clock += 1
        message |= {"text": text, "edit_date": self.clock}
        message["entities"] = find_entities(text)
        self.push("edited_message", message)

    def press(self, message: Json, label: str, user: int = 0) -> str:
        """Somebody presses a button; the query's id."""
        rows = message["reply_markup"]["inline_keyboard"]
        data = next(each["callback_data"] for row in rows for each in row if each["text"] == label)
        self._ids += 1
        query = {
            "id": str(self._ids),
            "from": self.person(user or message["chat"]["id"]),
            "chat_instance": "1",
        }
        self.pending[query["id"]] = True
        self.push("callback_query", {**query, "message": message, "data": data})
        return str(query["id"])

    def react(self, message: Json, old: str, new: str, user: int = 0) -> None:
        """Somebody puts an emoji on a message in place of another; "" is none."""
        old_new = [[{"type": "emoji", "emoji": each}] if each else [] for each in (old, new)]
        self.push(
            "message_reaction",
            {
                "chat": message["chat"],
                "message_id": message["message_id"],
                "user": self.person(user or message["chat"]["id"]),
                "date": self.clock,
                "old_reaction": old_new[0],
                "new_reaction": old_new[1],
            },
        )

    def press_stop(self, chat: int) -> None:
        """The person stops the draft that is growing."""
        draft = self.drafts.pop(chat)
        assert draft.get("can_stop"), "there is no button"
        self.push(
            "stopped_message_generation", {"chat": self.rooms[chat].about, "draft_id": draft["draft_id"]}
        )

    def block(self, chat: int) -> None:
        """The person blocks the bot."""
        self.rooms[chat].refuses = Refusal(403, "Forbidden: bot was blocked by the user")

    def migrate(self, old: int, new: int, *, announced: bool = True) -> None:
        """A group becomes a supergroup."""
        self.group(new)
        description = "Bad Request: group chat was upgraded to a supergroup chat"
        self.rooms[old].refuses = Refusal(400, description, migrate_to_chat_id=new)
        if announced:
            user = self.person(1)
            self.push("message", self._message(old, {"from": user, "migrate_to_chat_id": new}))
            self.push("message", self._message(new, {"from": user, "migrate_from_chat_id": old}))

    def push(self, kind: str, content: Json) -> None:
        """An update, when the bot wants such ones."""
        if kind in self._allowed:
            self.updates.append({"update_id": self.next_update, kind: dict(content)})
            self.next_update += 1
            self._news.set()

    def said(self, chat: int) -> list[str]:
        """What the bot's messages in a chat say now."""
        return [each["text"] for each in self.own(chat)]

    def own(self, chat: int) -> list[Json]:
        """The bot's messages in a chat."""
        return [each for each in self.rooms[chat].said.values() if each["from"]["id"] == self.me["id"]]

    async def until(self, happened: Callable[[], Any]) -> None:
        """Wait until a call has made this true."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(happened), 30)

    async def deliver_all(self) -> None:
        """Bring what is pending to the webhook, in order, each until it is taken."""
        assert self.webhook and self.deliver, "no webhook is set"
        headers = {"content-type": "application/json"}
        if "secret_token" in self.webhook:
            headers["x-telegram-bot-api-secret-token"] = self.webhook["secret_token"]
        while self.updates:
            status = await self.deliver(self.webhook["url"], headers, json.dumps(self.updates[0]).encode())
            if 200 <= status <= 299:
                self.updates.popleft()

    def _message(self, chat: int, fields: Json) -> Json:
        room = self.rooms[chat]
        if room.about["type"] == "supergroup":
            room.last_id += 1
            number = room.last_id
        else:  # these share one sequence
            self._ids += 1
            number = self._ids
        self.clock += 1
        if "message_thread_id" in fields:
            fields["is_topic_message"] = fields["message_thread_id"] in room.topics
        message = {"message_id": number, "date": self.clock, "chat": room.about, **fields}
        room.said[number] = message
        return message

    def _visible(self, message: Json) -> bool:
        """Privacy mode: in a group the bot sees what is meant for it."""
        if self.sees_all or message["chat"]["type"] == "private":
            return True
        name, text = f"@{self.me['username']}".lower(), message.get("text", "").lower()
        answered = message.get("reply_to_message", {}).get("from", {}).get("id") == self.me["id"]
        return answered or name in text or text.startswith("/")

    # The server.

    async def _asgi(
        self, scope: Json, receive: Callable[[], Awaitable[Any]], send: Callable[[Json], Awaitable[None]]
    ) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        try:
            answering = self._answer(scope["path"], headers.get("content-type", ""), body)
            status, answer = await unless_gone(answering, receive)
        except Broken as broken:
            status, answer = int(broken.args[0]), b"<html>Bad Gateway</html>"
        if status == 0:  # less than announced: the server closes the connection
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]}
            )
            return
        await send({"type": "http.response.start", "status": status,
                    "headers": [(b"content-type", b"application/json")]})  # fmt: skip
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, path: str, kind: str, body: bytes) -> tuple[int, bytes]:
        try:
            method = self._authorise(path)
            fields = read_fields(method, kind, body)
            self.calls.append((method, fields))
            result = await self._do(method, fields)
            answer, status = {"ok": True, "result": result}, 200
        except Refusal as no:
            status = no.code
            answer = {"ok": False, "error_code": no.code, "description": no.description}
            if no.parameters:
                answer["parameters"] = no.parameters
        await self._notify()
        return status, json.dumps(answer).encode()

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def _authorise(self, path: str) -> str:
        """The method; Telegram has the same 404 for what is no token and for what is no method."""
        found = re.fullmatch(r"/bot(\d+:[\w-]{20,})/(\w+)", path)
        names = {name.lower(): name for name in _METHODS.keys() - self.missing}
        if not found:
            raise Refusal(404, "Not Found")
        if found[1] != self.token:
            raise Refusal(401, "Unauthorized")
        if found[2].lower() not in names:
            raise Refusal(404, "Not Found")
        return names[found[2].lower()]

    async def _do(self, method: str, fields: Json) -> Any:
        fault = self.faults[method].popleft() if self.faults[method] else None
        if isinstance(fault, int):
            raise Refusal(429, f"Too Many Requests: retry after {fault}", retry_after=fault)
        if fault in ("500", "502", "not json", "hang up"):
            raise Broken({"hang up": "0", "not json": "200"}.get(fault, fault))
        if method in self.held:
            await self._notify()
            await self.held[method].wait()
        name = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", method).lower()
        result = getattr(self, f"_{name}")(fields)
        result = await result if asyncio.iscoroutine(result) else result
        if fault == "lose the answer":
            await self._notify()
            raise Broken("0")
        return result

    def _get_me(self, _: Json) -> Json:
        return {**self.me, "can_join_groups": True, "can_read_all_group_messages": self.sees_all,
                "supports_inline_queries": False}  # fmt: skip

    async def _get_updates(self, fields: Json) -> list[Json]:
        if self.webhook:
            raise Refusal(409, "Conflict: can't use getUpdates method while webhook is active; "
                               "use deleteWebhook to delete the webhook first")  # fmt: skip
        self._allow(fields)
        if self._poll is not None:
            self._terminated.add(self._poll)
            self._news.set()
        mine = self._poll = asyncio.current_task()
        assert mine is not None
        try:
            self._confirm(fields.get("offset", 0))
            await self._notify()
            await self._wait(mine, fields.get("timeout", 0))
            return list(self.updates)[: min(100, max(1, fields.get("limit", 100)))]
        finally:
            self._terminated.discard(mine)
            self._poll = None if self._poll is mine else self._poll

    def _confirm(self, offset: int) -> None:
        """All updates before the offset are forgotten."""
        if offset < 0:
            offset = self.updates[max(0, len(self.updates) + offset)]["update_id"] if self.updates else 0
        while offset and self.updates and self.updates[0]["update_id"] < offset:
            self.updates.popleft()

    async def _wait(self, mine: asyncio.Task[Any], timeout: int) -> None:
        ends = asyncio.get_running_loop().time() + min(timeout, 50)
        while not self.updates or mine in self._terminated:
            if mine in self._terminated:
                raise Refusal(409, "Conflict: terminated by other getUpdates request; "
                                   "make sure that only one bot instance is running")  # fmt: skip
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                return
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return

    def _allow(self, fields: Json) -> None:
        if "allowed_updates" in fields:
            wanted = fields["allowed_updates"]
            if not set(wanted) <= _TYPES:
                raise Refusal(400, "Bad Request: can't parse allowed updates")
            self._allowed = set(wanted) or set(_DEFAULT)

    def _set_webhook(self, fields: Json) -> bool:
        if fields["url"] and not fields["url"].startswith("https://"):
            raise Refusal(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", fields.get("secret_token", "")):
            raise Refusal(400, "Bad Request: secret token contains unallowed characters")
        if not 1 <= fields.get("max_connections", 40) <= 100:
            raise Refusal(400, "Bad Request: max_connections must be from 1 to 100")
        self._allow(fields)
        self.webhook = fields if fields["url"] else {}
        return True

    def _delete_webhook(self, fields: Json) -> bool:
        self.webhook = {}
        if fields.get("drop_pending_updates"):
            self.updates.clear()
        return True

    def _get_webhook_info(self, _: Json) -> Json:
        return {"url": self.webhook.get("url", ""), "has_custom_certificate": False,
                "pending_update_count": len(self.updates)}  # fmt: skip

    def _set_my_commands(self, fields: Json) -> bool:
        if any(not re.fullmatch(r"[a-z0-9_]{1,32}", each["command"]) for each in fields["commands"]):
            raise Refusal(400, "Bad Request: BOT_COMMAND_INVALID")
        return True

    def _room(self, fields: Json) -> Room:
        """The chat that is written to, if it takes messages."""
        room = self.rooms.get(fields["chat_id"])
        if room is None:
            raise Refusal(400, "Bad Request: chat not found")
        if room.refuses is not None:
            raise room.refuses
        thread = fields.get("message_thread_id")
        if thread is not None and thread not in room.topics:
            raise Refusal(400, "Bad Request: message thread not found")
        return room

    def _send_message(self, fields: Json) -> Json:
        room, text = self._room(fields), check_text(fields)
        check_buttons(fields.get("reply_markup"))
        new: Json = {"from": self.me, "text": text}
        if (points := fields.get("reply_parameters")) is not None:
            if points["message_id"] in room.said:
                answered = room.said[points["message_id"]]
                new["reply_to_message"] = {k: v for k, v in answered.items() if k != "reply_to_message"}
            elif not points.get("allow_sending_without_reply"):
                raise Refusal(400, "Bad Request: message to be replied not found")
        new |= {key: fields[key] for key in ("message_thread_id", "reply_markup") if key in fields}
        self.drafts.pop(fields["chat_id"], None)
        return self._message(fields["chat_id"], new)

    def _send_message_draft(self, fields: Json) -> bool:
        room = self._room(fields)
        if not room.is_private:
            raise Refusal(400, "Bad Request: TEXTDRAFT_PEER_INVALID")
        if fields["draft_id"] == 0:
            raise Refusal(400, "Bad Request: RANDOM_ID_INVALID")
        if fields.get("text"):
            check_text(fields)
        self.drafts[fields["chat_id"]] = fields
        return True

    def _send_chat_action(self, fields: Json) -> bool:
        self._room(fields)
        if fields["action"] not in _ACTIONS:
            raise Refusal(400, "Bad Request: wrong parameter action in request")
        return True

    def _mine(self, fields: Json, what: str) -> Json:
        message = self._room(fields).said.get(fields["message_id"])
        if message is None:
            raise Refusal(400, f"Bad Request: message to {what} not found")
        if message["from"]["id"] != self.me["id"]:
            raise Refusal(400, f"Bad Request: message can't be {what}ed")
        return message

    def _change(self, message: Json, new: Json) -> Json:
        if all(message.get(key) == new.get(key) for key in ("text", "reply_markup")):
            raise Refusal(400, "Bad Request: message is not modified: specified new message content and reply "
                               "markup are exactly the same as a current content and reply markup of the message",
            )  # fmt: skip
        message.pop("reply_markup", None)
        message |= {**new, "edit_date": self.clock}
        return message

    def _edit_message_text(self, fields: Json) -> Json:
        message = self._mine(fields, "edit")
        check_buttons(fields.get("reply_markup"))
        buttons = {"reply_markup": fields["reply_markup"]} if "reply_markup" in fields else {}
        return self._change(message, {"text": check_text(fields), **buttons})

    def _edit_message_reply_markup(self, fields: Json) -> Json:
        message = self._mine(fields, "edit")
        check_buttons(fields.get("reply_markup"))
        buttons = {"reply_markup": fields["reply_markup"]} if "reply_markup" in fields else {}
        return self._change(message, {"text": message["text"], **buttons})

    def _delete_message(self, fields: Json) -> bool:
        self._mine(fields, "delete")
        del self.rooms[fields["chat_id"]].said[fields["message_id"]]
        return True

    def _answer_callback_query(self, fields: Json) -> bool:
        if not self.pending.pop(fields["callback_query_id"], False):
            raise Refusal(
                400, "Bad Request: query is too old and response timeout expired or query ID is invalid"
            )
        if len(fields.get("text", "")) > 200:
            raise Refusal(400, "Bad Request: MESSAGE_TOO_LONG")
        self.thanked[fields["callback_query_id"]] = fields.get("text", "")
        return True


async def unless_gone(
    answering: Coroutine[Any, Any, tuple[int, bytes]], receive: Callable[[], Awaitable[Any]]
) -> tuple[int, bytes]:
    """The answer; a long poll whose caller hangs up ends."""
    task, gone = asyncio.create_task(answering), asyncio.ensure_future(receive())
    await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
    gone.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        raise Broken("0") from None


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


def find_entities(text: str) -> list[Json]:
    """Commands and mentions."""
    found = []
    for match in re.finditer(r"(?<![\w/@])(/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?|@[A-Za-z0-9_]{3,32})", text):
        kind = "bot_command" if match[0].startswith("/") else "mention"
        found.append({"type": kind, "offset": utf16(text[: match.start()]), "length": utf16(match[0])})
    return found


def read_fields(method: str, kind: str, body: bytes) -> Json:
    """The parameters in their types, from any of the three forms that the Bot API takes."""
    known, needed = _METHODS[method]
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
