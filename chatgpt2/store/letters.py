"""What the mailbox takes and gives back: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

# What became of a letter: kept to be answered; here already; refused, and the first to be so (it is worth a polite
# line); refused like the one before it.
Receipt = Literal["new", "seen", "busy", "slow", "spent", "dropped"]


@dataclass(frozen=True, slots=True)
class Letter:
    """Something a person did on a platform. `event` is all of it, as JSON; `sent` is in seconds since 1970."""

    platform: str
    account: str
    chat: str
    thread: str
    user_id: str
    message_id: str
    event: Mapping[str, Any]
    sent: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """How much is let in: letters waiting in a conversation, letters of one user a minute, and since `midnight`."""

    waiting: int
    per_minute: int | None = None
    per_day: int | None = None
    midnight: datetime | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter in the inbox. `attempts`: how often it has been claimed before."""

    id: int
    event: Mapping[str, Any]
    received: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Queue:
    """A conversation whose lease one process holds. `stop`: letters with a lower id are not to be answered."""

    id: int
    platform: str
    account: str
    chat: str
    thread: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Letters to be answered together, in order; the last one is replied to."""

    letters: Sequence[Waiting]
    greeted: bool

    @property
    def last(self) -> Waiting:
        return self.letters[-1]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer that is to be sent. `begun`: an earlier try may have arrived."""

    id: int
    inbox_id: int
    position: int
    text: str
    final: bool
    feedback_id: str | None
    begun: bool
    event: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing to do yet; look again after so many seconds."""

    seconds: float


Work = Batch | list[Chunk] | Pause | None
