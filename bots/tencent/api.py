"""An API of Tencent's that wants an access token with each call, and says what is wrong in `errcode`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import httpx

from chatgpt2.adapter import AdapterError, RetryLater, Services
from chatgpt2.bots.tencent.contact import Contact

_TIMEOUT = 10.0  # seconds
_EARLY = 300.0  # seconds before its end that a token is renewed: the old one and the new one hold together
_STALE = {40001, 40014, 42001}
_PAUSE = 5.0  # seconds when nobody was reached


class ApiError(AdapterError):
    """The platform said no. `code` is its errcode, `why` its words."""

    def __init__(self, code: int, why: str) -> None:
        self.code, self.why = code, why
        super().__init__(f"{code}: {why}")


# A new token and the seconds it holds; True: the platform's present one has been refused.
Fetch = Callable[["Api", bool], Awaitable[tuple[str, float]]]


class Api:
    """Calls with an access token that is kept over restarts, shared by all processes, and renewed once a call.

    `fetch` gets a token; it may use `request`. Whatever is raised names neither the token nor the secret.
    `personal`: errcodes that say something of one person, and nothing of how the account is.
    """

    def __init__(
        self, base_url: str, services: Services, key: str, fetch: Fetch, personal: Collection[int] = ()
    ) -> None:
        self._base, self._services, self._key, self._fetch = base_url.rstrip("/"), services, key, fetch
        self._renewing, self._personal = asyncio.Lock(), personal
        self.contact = Contact(services.clock)

    async def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST `body`. Raises ApiError; RetryLater when nobody was reached; AdapterError and httpx's errors when
        it is unknown whether it was done."""
        token = await self.token()
        try:
            return await self.request("POST", path, {"access_token": token}, body)
        except ApiError as error:
            if error.code not in _STALE:
                raise
        token = await self.token(refused=token)
        return await self.request("POST", path, {"access_token": token}, body)

    async def token(self, refused: str | None = None) -> str:
        """The access token, another one than `refused`. Raises what `call` does."""
        async with self._renewing:
            kept = await self._services.state.get(self._key) or {}
            if kept and kept["token"] != refused and self._services.clock() < kept["until"] - _EARLY:
                return str(kept["token"])
            token, seconds = await self._fetch(self, False)
            if token == refused:
                token, seconds = await self._fetch(self, True)
            await self._services.state.set(
                self._key, {"token": token, "until": self._services.clock() + seconds}
            )
            return token

    async def request(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One call as it is. Raises what `call` does."""
        try:
            answer = await self._exchange(method, path, query, body)
        except (AdapterError, httpx.HTTPError) as error:
            if not (isinstance(error, ApiError) and error.code in self._personal):
                self.contact.failed(error)
            raise
        self.contact.worked()
        return answer

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        # Not httpx's json=, which writes 你 as it is only by chance: people would read \u4f60.
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {} if content is None else {"Content-Type": "application/json; charset=utf-8"}
        try:
            response = await self._services.http.request(
                method, self._base + path, params=query, content=content, headers=headers, timeout=_TIMEOUT
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise RetryLater(_PAUSE, f"{self._base} cannot be reached: {error}") from None
        return self._answered(path, response)

    def _answered(self, path: str, response: httpx.Response) -> dict[str, Any]:
        if response.status_code != 200:  # without the address, which has the token in it
            raise AdapterError(f"{path} answered with HTTP {response.status_code}")
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise AdapterError(f"{path} did not answer with a JSON object")
        self.contact.heard()
        if answer.get("errcode"):
            raise ApiError(int(answer["errcode"]), str(answer.get("errmsg", "")))
        return answer
