"""Who is answered, when, and how often: what the settings of a bot say to the gateway."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from chatgpt2.adapter import Inbound, read_settings
from chatgpt2.errors import ConfigError
from chatgpt2.store import Gate

NOTICE = "（先说一声：我是 AI 聊天机器人，我的话都是模型生成的，不一定对。）"


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a bot that the gateway reads; docs/adapters.md lists them for users.

    allow, block       ids of users or chats; with `allow` only they (and `admins`) are answered; `block` wins
    admins             user ids that no limit holds for
    group_mention, group_reply, group_prefix, group_probability
                       what is answered in a group: the bot is mentioned; what it said is replied to; a message
                       that begins so; any other message, this often (0 to 1)
    per_minute, per_day    messages of one user; a day begins at midnight here
    waiting            messages of one conversation that may wait for an answer
    burst              seconds: messages that follow one another faster are answered together; 0: each by itself
    feedback           whether replies have 👍 and 👎 where the platform can
    notice             what a conversation's first answer begins with; "": nothing
    proxy              the proxy of the bot's HTTP client
    """

    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    admins: tuple[str, ...] = ()
    group_mention: bool = True
    group_reply: bool = True
    group_prefix: tuple[str, ...] = ()
    group_probability: float = 0.0
    per_minute: int | None = None
    per_day: int | None = None
    waiting: int = 20
    burst: float = 0.0
    feedback: bool = True
    notice: str = NOTICE
    proxy: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.group_probability <= 1:
            raise ConfigError("group_probability must be from 0 to 1")
        for name in ("per_minute", "per_day", "waiting"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"{name} must be 1 or more")
        if not 0 <= self.burst <= 60:
            raise ConfigError("burst must be from 0 to 60 seconds")

    def gate(self, user: str) -> Gate:
        """What the mailbox lets in of this user."""
        if user in self.admins:
            return Gate(self.waiting)
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        return Gate(self.waiting, self.per_minute, self.per_day, midnight)

    def knows(self, inbound: Inbound) -> bool:
        """Whether this user or chat is to be answered at all."""
        ids = {inbound.user_id, inbound.chat_id}
        return not self.allow or inbound.user_id in self.admins or bool(ids & set(self.allow))

    def hears(self, inbound: Inbound) -> Inbound | None:
        """The event as it is to be answered, without the prefix that called the bot; None: it is passed over."""
        if inbound.user_id in self.block or inbound.chat_id in self.block:
            return None
        if not inbound.is_group or inbound.kind in ("feedback", "stop"):
            return inbound
        for prefix in self.group_prefix:
            if inbound.text.startswith(prefix):
                return replace(inbound, text=inbound.text[len(prefix) :].lstrip())
        called = (self.group_mention and inbound.addressed) or (self.group_reply and inbound.to_bot)
        by_chance = inbound.kind == "text" and _chance(inbound.message_id) < self.group_probability
        return inbound if called or by_chance else None


def _chance(message_id: str) -> float:
    """From 0 to 1, by the message: delivered again, it is decided as before."""
    return int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:8], "big") / 2**64


def split_settings(settings: Mapping[str, Any]) -> tuple[Rules, dict[str, Any]]:
    """What is for the gateway, and what is for the adapter. Raises ConfigError."""
    plain = {key.replace("-", "_"): value for key, value in settings.items()}
    own = {each.name for each in fields(Rules)}
    rules = read_settings(Rules, {key: value for key, value in plain.items() if key in own})
    return rules, {key: value for key, value in plain.items() if key not in own}
