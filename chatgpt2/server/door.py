"""Who is let in: those who give a good key, and as often as it allows."""

from __future__ import annotations

import math
import time
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chatgpt2.server.faults import Fault
from chatgpt2.store import ApiKey, ApiKeys

_bearer = HTTPBearer(auto_error=False, description="A key made with `chatgpt2 keys create`.")
_MINUTE = 60.0


class Door:
    """A dependency of every route that needs a key. Each process counts for itself."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._purses: dict[str, Purse] = {}

    async def __call__(
        self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> ApiKey:
        if given is None:
            raise Fault(401, "An API key is needed: Authorization: Bearer KEY.", "missing_api_key")
        key = await self._keys.find(given.credentials)
        if key is None:
            raise Fault(401, "This API key is unknown, revoked or expired.", "invalid_api_key")
        if key.per_minute is not None:
            purse = self._purses.setdefault(key.label, Purse(key.per_minute))
            if wait := purse.pay(time.monotonic()):
                what = (
                    f"This key allows {key.per_minute} requests a minute: try again in {math.ceil(wait)} s."
                )
                raise Fault(429, what, "rate_limit_exceeded", retry_after=math.ceil(wait))
        return key


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
