"""Who has a good key."""

from __future__ import annotations

from fastapi.security import HTTPBearer

from chatgpt2.server.faults import Fault
from chatgpt2.server.passage import Passage
from chatgpt2.server.rates import Purses
from chatgpt2.store import ApiKeys

# Only for the OpenAPI document: a dependency runs when the body has been read, and the key is asked for before.
bearer = HTTPBearer(auto_error=False, description="A key made with `chatgpt2 keys create`.")


class Door:
    """A guard that lets in who gives a good key, as often as it allows. The key is left in `request.state.key`.

    per_minute  what a key allows that has no limit of its own; 0: any number
    """

    def __init__(self, keys: ApiKeys, per_minute: int = 0) -> None:
        self._keys, self._per_minute, self._purses = keys, per_minute, Purses()

    async def __call__(self, passage: Passage) -> None:
        scheme, _, given = passage.header(b"authorization").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise Fault(401, "An API key is needed: Authorization: Bearer KEY.", "missing_api_key")
        key = await self._keys.find(given.strip())
        if key is None:
            raise Fault(401, "This API key is unknown, revoked or expired.", "invalid_api_key")
        if most := self._per_minute if key.per_minute is None else key.per_minute:
            self._purses.pay(key.label, most, "This key")
        passage.scope.setdefault("state", {})["key"] = key
