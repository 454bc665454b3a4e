"""iLink, as Tencent's own client speaks it: JSON over HTTP."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import httpx

from chatgpt2.adapter import AdapterError, RetryLater

PROTOCOL = "2.4.9"  # of @tencent-weixin/openclaw-weixin, whose requests these are
STALE, SPENT = -14, -2  # the login is over; the sends or the time for this message are used up
_TIMEOUT = 15.0  # seconds
_PAUSE = 5.0  # seconds when nobody was reached
_TOO_MANY_PAUSE = 30.0


class IlinkError(AdapterError):
    """iLink said no. `code` is its ret or errcode."""

    def __init__(self, path: str, code: int, why: str) -> None:
        self.code = code
        super().__init__(f"{path}: {code} {why}".strip())


class Ilink:
    """Calls with the token of one login; None: there is no login yet."""

    def __init__(self, http: httpx.AsyncClient, base_url: str, token: str | None = None) -> None:
        self._http, self._base, self._token = http, base_url.rstrip("/"), token

    async def post(self, path: str, body: Mapping[str, Any], timeout: float = _TIMEOUT) -> dict[str, Any]:
        """POST to /ilink/bot/`path`. Raises IlinkError; RetryLater when it surely was not done; AdapterError and
        httpx's errors when that is unknown."""
        base_info = {"channel_version": PROTOCOL, "bot_agent": f"chatgpt2/{version('chatgpt2')}"}
        return await self._call("POST", path, {**body, "base_info": base_info}, timeout)

    async def qr_code(self, tokens: list[str]) -> dict[str, Any]:
        """What is to be scanned. `tokens`: those of earlier logins. Raises what `post` does."""
        return await self._call("POST", "get_bot_qrcode?bot_type=3", {"local_token_list": tokens}, _TIMEOUT)

    async def get(self, path: str, query: Mapping[str, str], timeout: float) -> dict[str, Any]:
        """GET /ilink/bot/`path`. Raises what `post` does."""
        return await self._call("GET", f"{path}?{httpx.QueryParams(query)}", None, timeout)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float
    ) -> dict[str, Any]:
        headers = {"iLink-App-Id": "bot", "iLink-App-ClientVersion": str(client_version(PROTOCOL))}
        if method == "POST":
            headers["AuthorizationType"] = "ilink_bot_token"
            headers["X-WECHAT-UIN"] = wechat_uin(secrets.randbits(32))
            headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
        url = f"{self._base}/ilink/bot/{path}"
        try:
            response = await self._http.request(method, url, json=body, headers=headers, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise RetryLater(_PAUSE, f"{self._base} cannot be reached: {error}") from None
        return _answered(path.split("?")[0], response)


def _answered(path: str, response: httpx.Response) -> dict[str, Any]:
    if response.status_code == 429:
        after = response.headers.get("Retry-After", "")
        raise RetryLater(float(after) if after.isdecimal() else _TOO_MANY_PAUSE)
    try:
        answer = response.json() if response.status_code == 200 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise AdapterError(f"{path} answered with HTTP {response.status_code}, and not with a JSON object")
    code = answer.get("ret") or answer.get("errcode") or 0
    if code:
        raise IlinkError(path, int(code), str(answer.get("errmsg", "")))
    return answer


def client_version(text: str) -> int:
    """A version as iLink counts it: "2.4.9" is 0x020409."""
    major, minor, patch = (int(part) & 0xFF for part in text.split("."))
    return major << 16 | minor << 8 | patch


def wechat_uin(number: int) -> str:
    """The header X-WECHAT-UIN of a random number."""
    return base64.b64encode(str(number).encode()).decode()
