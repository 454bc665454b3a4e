"""What the store takes and gives back: plain values, no database in sight."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from chatgpt2.dialogue import Dialogue, Role, Turn

# "blocked": the message or its reply held a blocked word.
Removal = Literal["reset", "undo", "retry", "blocked"]


class SessionKey(NamedTuple):
    """Which conversation. The terminal's session NAME is `SessionKey("terminal", chat=NAME)`; a bot's has
    its own account, the platform's chat, and the thread (forum topic) inside it."""

    platform: str
    account: str = ""
    chat: str = ""
    thread: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.platform, self.account, self.chat, self.thread) if part)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One user turn and the reply to it."""

    user: str
    bot: str
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a turn begins with: the session's own settings and opening turns (None: it has none), what was said, and
    the reply that the message has got already."""

    settings: dict[str, Any]
    persona: tuple[Turn, ...] | None
    dialogue: Dialogue
    earlier: str | None = None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One line of the list of sessions. `turns` are those still in the conversation, `removed` the others."""

    key: SessionKey
    created: datetime
    last_active: datetime
    turns: int
    removed: int
    title: str | None = None


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as it is on record: also those that a reset, an undo or a retry took out of the conversation.

    `message_id` is the platform's id of the user's message; on a bot turn, of the message that it answers.
    """

    position: int
    role: Role
    text: str
    created: datetime
    user_id: str | None = None
    message_id: str | None = None
    model: str | None = None
    tokens: int | None = None
    latency: float | None = None
    removed: datetime | None = None
    removed_why: Removal | None = None
