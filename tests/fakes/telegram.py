"""A strict fake of the Bot API (10.3): a real HTTP server that refuses what Telegram refuses, in Telegram's words.

What people do is in Chats. `faults` of a method are done once each, in order.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import uvicorn
from fakes.telegram_chats import Chats, Room
from fakes.telegram_flood import COUNTED, Flood
from fakes.telegram_rules import (
    ACTIONS,
    DEFAULT,
    METHODS,
    SCOPES,
    TYPES,
    Json,
    Refusal,
    check_buttons,
    check_commands,
    check_text,
    read_fields,
)

XIAOMING, GROUP = 7, -1001  # a person and a group, for tests that need no more

# Seconds of flood control; the person has blocked the bot, for now; a page of some server in between; the connection
# is closed before, or after, it is done.
Fault = int | Literal["blocked", "403", "404", "500", "502", "hang up", "lose the answer", "not json"]


class Broken(Exception):
    """There is to be no answer, or one that is not Telegram's."""


class FakeTelegram(Chats):
    """The server of these chats."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls: list[tuple[str, Json]] = []
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.held: dict[str, asyncio.Event] = {}  # methods that wait for something
        self.missing: set[str] = set()  # methods that an older server does not know
        self.flood: Flood | None = None  # None: no flood control but that of the faults
        self.webhook: Json = {}
        self.menus: dict[tuple[str, str], list[Json]] = {}  # by scope and language
        # How an update gets to the webhook: url, headers and body; the status that came back.
        self.deliver: Callable[[str, Mapping[str, str], bytes], Awaitable[int]] | None = None
        self.url = ""
        self._poll: asyncio.Task[Any] | None = None
        self._terminated: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[FakeTelegram]:
        with socket.socket(
            socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
        ) as listening:  # without delays
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
            status, answer = int(broken.args[0]), b"<html>Sorry</html>"
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
        names = {name.lower(): name for name in METHODS.keys() - self.missing}
        if not found:
            raise Refusal(404, "Not Found")
        if found[1] != self.token:
            raise Refusal(401, "Unauthorized")
        if found[2].lower() not in names:
            raise Refusal(404, "Not Found")
        return names[found[2].lower()]

    async def _do(self, method: str, fields: Json) -> Any:
        fault = self.faults[method].popleft() if self.faults[method] else None
        if fault is None and self.flood is not None and method in COUNTED:
            chat = fields["chat_id"]
            fault = self.flood.pause(method, chat, private=chat > 0) or None
        if isinstance(fault, int):
            raise Refusal(429, f"Too Many Requests: retry after {fault}", retry_after=fault)
        if fault == "blocked":
            raise Refusal(403, "Forbidden: bot was blocked by the user")
        if fault is not None and fault != "lose the answer":
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
            if not set(wanted) <= TYPES:
                raise Refusal(400, "Bad Request: can't parse allowed updates")
            self._allowed = set(wanted) or set(DEFAULT)

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
        check_commands(fields["commands"])
        scope = fields.get("scope", {"type": "default"})
        if scope.get("type") not in SCOPES:
            raise Refusal(400, "Bad Request: can't parse BotCommandScope: Unsupported type specified")
        if not re.fullmatch(r"([a-z]{2})?", fields.get("language_code", "")):
            raise Refusal(400, "Bad Request: invalid language code specified")
        self.menus[scope["type"], fields.get("language_code", "")] = fields["commands"]
        return True

    def _get_my_commands(self, fields: Json) -> list[Json]:
        scope = fields.get("scope", {"type": "default"})
        return self.menus.get((scope["type"], fields.get("language_code", "")), [])

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
        if fields["action"] not in ACTIONS:
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
