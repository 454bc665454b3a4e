"""How the bots are, as plain values: for /metrics, /readyz and whoever looks after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = Literal["starting", "polling", "standby", "serving", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class BotReport:
    """One bot. `silent_for`: seconds since the platform was last heard of; `healthy`: nothing needs a person.

    stage  "starting"; "polling" (this process receives), "standby" (another one does), "serving" (webhooks);
           "failed": it is started again after a pause; "stopped"
    """

    name: str
    platform: str
    account: str
    stage: Stage
    healthy: bool
    restarts: int
    silent_for: float | None
    last_error: str | None


@dataclass(slots=True)
class Tally:
    """What a process has counted since it began.

    received, seen   events kept, and events that had been kept before
    refused          events of strangers, over a limit, or in a full conversation
    answered, sent   letters (a burst is one), chunks
    repeated         chunks sent again though nobody knows whether they had arrived
    retried, dropped sends that the platform put off, and chunks given up
    """

    received: int = 0
    seen: int = 0
    refused: int = 0
    answered: int = 0
    sent: int = 0
    repeated: int = 0
    retried: int = 0
    dropped: int = 0
