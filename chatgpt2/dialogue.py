"""What was said: the one message type and the one conversation type of the whole project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Role = Literal["user", "bot"]


class Turn(NamedTuple):
    """One speaker's words until the other speaks."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation, oldest turn first."""

    turns: tuple[Turn, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str], first: Role = "user") -> Dialogue:
        """The dialogue in which `first` and the other speaker take turns saying `texts`."""
        roles: tuple[Role, Role] = ("user", "bot") if first == "user" else ("bot", "user")
        return cls(tuple(Turn(roles[i % 2], text) for i, text in enumerate(texts)))

    def say(self, role: Role, text: str) -> Dialogue:
        """This dialogue with one more turn."""
        return Dialogue((*self.turns, Turn(role, text)))

    def __len__(self) -> int:
        return len(self.turns)
