"""What a reader hands on: a record of a file, or what is wrong with it, and the count of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# One dialogue may not grow without bound: a text without blank lines is a book, not a dialogue.
MAX_TURNS = 10_000


class Record(NamedTuple):
    """One dialogue as its file tells it: clean texts, perhaps empty ones.

    `roles` holds "user", "bot", "system" or "tool" for each text; None: user and bot take turns.
    """

    line: int
    texts: list[str]
    roles: Sequence[str] | None = None


class Problem(NamedTuple):
    """A place of a file that is no record, and what was expected there."""

    line: int
    message: str


@dataclass(slots=True)
class Tally:
    """What a reading of a corpus met; hand one to `read_corpus` and look at it afterwards."""

    files: int = 0
    dialogues: int = 0
    turns: int = 0
    single: int = 0  # dialogues of one turn
    empty: int = 0  # records without any text
    merged: int = 0  # turns joined to the turn before, of the same speaker
    system: int = 0  # system texts dropped, or kept where that was asked
    tool: int = 0  # messages to and from tools, dropped
    bad: int = 0  # records that were no dialogue
    skipped: list[tuple[Path, str]] = field(default_factory=list)  # files passed over, and why
