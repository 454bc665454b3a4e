"""How many of the letters that wait in a conversation are answered together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from chatgpt2.adapter import Inbound
from chatgpt2.commands import read_order
from chatgpt2.gateway.rules import Rules
from chatgpt2.store import Waiting

_LONGEST_BURST = 4  # times the pause that ends one
_ALBUM = 1.0  # seconds in which the next picture of an album comes, each being an event of its own


def inbound_of(letter: Waiting) -> Inbound:
    """The event that a letter holds."""
    return Inbound(**letter.event)


def batch_size(rules: Rules, waiting: Sequence[Waiting]) -> int | float:
    """How many letters are answered together: those of one person that say something, or show pictures. Seconds, a
    float: more may be coming."""
    first = inbound_of(waiting[0])
    burst = rules.burst if first.kind == "text" else max(rules.burst, _ALBUM)
    if first.kind not in ("text", "unsupported") or _is_order(first) or (first.kind == "text" and not burst):
        return 1
    count = 1
    while count < len(waiting) and _goes_on(first, inbound_of(waiting[count])):
        count += 1
    now = datetime.now(UTC)
    quiet = (now - waiting[count - 1].received).total_seconds()
    whole = (now - waiting[0].received).total_seconds()
    if count == len(waiting) and quiet < burst and whole < _LONGEST_BURST * burst:
        return max(0.01, burst - quiet)
    return count


def _is_order(inbound: Inbound) -> bool:
    return read_order(inbound.text) is not None


def _goes_on(first: Inbound, other: Inbound) -> bool:
    """Whether the same person goes on with the same kind of thing."""
    return other.kind == first.kind and other.user_id == first.user_id and not _is_order(other)
