"""Chats as Telegram keeps them, what people do in them, and what the bot has not been told yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fakes.telegram_rules import DEFAULT, Json, Refusal, find_entities

TOKEN = "4242:AAFakeFakeFakeFakeFakeFakeFakeFake0"


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


class Chats:
    """One bot and its chats. `sees_all`: privacy mode is off."""

    def __init__(self, token: str = TOKEN, *, username: str = "XiaoBaoBot", sees_all: bool = False) -> None:
        self.token, self.sees_all = token, sees_all
        self.me = {"id": int(token.split(":")[0]), "is_bot": True, "first_name": "小宝", "username": username}
        self.rooms: dict[int, Room] = {}
        self.drafts: dict[int, Json] = {}
        self.thanked: dict[str, str] = {}  # callback queries answered
        self.pending: dict[str, bool] = {}  # callback queries asked
        self.updates: deque[Json] = deque()
        self.next_update = 700_000_001
        self.clock = 1_790_000_000
        self.changed = asyncio.Condition()
        self._allowed = set(DEFAULT)
        self._news = asyncio.Event()
        self._ids = 0

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
