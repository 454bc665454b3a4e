"""What a front end says besides what the model says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatgpt2.adapter import Command
from chatgpt2.commands import SHARED
from chatgpt2.errors import ChatGPT2Error, StoreError

FAILED = "（这句话我没能回答，换一句试试吧。）"

log = logging.getLogger(__name__)


def excuse(error: ChatGPT2Error) -> str | None:
    """A stranger is not told what went wrong; a database that fails is waited for."""
    if isinstance(error, StoreError):
        return None
    log.warning("a letter could not be answered: %s", error)
    return FAILED


@dataclass(frozen=True, slots=True)
class Manners:
    """The same for every bot of a process.

    commands  those that /help lists
    failed    what is answered instead of a reply that failed; None: it is tried again in a moment
    """

    commands: Sequence[Command] = SHARED
    failed: Callable[[ChatGPT2Error], str | None] = excuse
