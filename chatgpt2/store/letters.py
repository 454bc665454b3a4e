"""What the mailbox takes and gives back: plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

OPINION = "feedback"  # the kind of an event that says what somebody thinks of an answer

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

    @property
    def opinion(self) -> bool:
        """Feedback on an answer: no gate refuses it, and it counts for none."""
        return self.event.get("kind") == OPINION


@dataclass(frozen=True, slots=True)
class Gate:
    """How much is let in: letters waiting in a conversation, letters of one user a minute, and since `midnight`."""

    waiting: int
    per_minute: int | None = None
    per_day: int | None = None
    midnight: datetime | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A letter that comes in. With `stop` those before it are not answered; without `answer` neither is it."""

    letter: Letter
    gate: Gate
    stop: bool = False
    answer: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter in the inbox. `attempts`: how often it has been claimed before."""

    id: int
    event: Mapping[str, Any]
    received: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Queue:
    """A conversation that is leased. `lease` names this lease: whoever takes the conversation over has another."""

    id: int
    platform: str
    account: str
    chat: str
    thread: str
    lease: str


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


@dataclass(frozen=True, slots=True)
class Sent:
    """A chunk that has arrived, and the platform's id of it."""

    chunk: Chunk
    platform_id: str


Work = Batch | list[Chunk] | Pause | None

# How many of these letters of a conversation are answered together now (the first of them, in order), or how many
# seconds to wait.
Choose = Callable[[Queue, Sequence[Waiting]], int | float]
