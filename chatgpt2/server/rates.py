"""How often one may ask. Each process counts for itself."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict

from starlette.types import Scope

from chatgpt2.server.faults import Fault
from chatgpt2.server.passage import Passage

_MINUTE = 60.0
_MOST_PURSES = 10_000
_HOUSE = 64  # bits: who has one IPv6 address has all that begin like it


class Purse:
    """A token bucket: full it holds a minute's requests, and it fills evenly."""

    def __init__(self, per_minute: int) -> None:
        self._most = self._left = float(per_minute)
        self._seen: float | None = None

    def pay(self, now: float) -> float:
        """Take one; 0, or the seconds until there is one again (`now` in seconds)."""
        if self._seen is not None:
            self._left = min(self._most, self._left + (now - self._seen) * self._most / _MINUTE)
        self._seen = now
        if self._left < 1:
            return (1 - self._left) * _MINUTE / self._most
        self._left -= 1
        return 0


class Purses:
    """A purse for each name. Only the latest `most` names are remembered: one not seen for a minute is full again."""

    def __init__(self, most: int = _MOST_PURSES) -> None:
        self._most = most
        self._purses: OrderedDict[tuple[str, int], Purse] = OrderedDict()  # the one seen last is last

    def __len__(self) -> int:
        return len(self._purses)

    def pay(self, name: str, per_minute: int, whose: str) -> None:
        """Take one from a purse. Raises Fault (429) when it is empty; `whose` is told then."""
        at = (name, per_minute)
        purse = self._purses.setdefault(at, Purse(per_minute))
        self._purses.move_to_end(at)
        if len(self._purses) > self._most:
            self._purses.popitem(last=False)
        if wait := math.ceil(purse.pay(time.monotonic())):
            what = f"{whose} allows {per_minute} requests a minute: try again in {wait} s."
            raise Fault(429, what, "rate_limit_exceeded", retry_after=wait)


class Addresses:
    """A guard that lets each address ask so often."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute, self._purses = per_minute, Purses()

    async def __call__(self, passage: Passage) -> None:
        self._purses.pay(_house(passage.scope), self._per_minute, "This service")


def _house(scope: Scope) -> str:
    """Who asks, as far as an address tells."""
    host: str = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]  # a proxy may call its clients as it likes
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, _HOUSE), strict=False))
    return str(address)
