"""The line to the Bot API server: python-telegram-bot's requests over the services' HTTP client."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import httpx
from telegram import Update
from telegram.error import NetworkError, TelegramError, TimedOut
from telegram.request import BaseRequest, RequestData

# What stands in URLs where the token belongs: the library, and whatever it logs or raises, sees no more than this.
TOKEN = "TOKEN"

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

_PAUSE = 5.0  # seconds, when flood control does not say how long

log = logging.getLogger(__name__)


class NotSent(NetworkError):
    """The request did not get as far as the server."""


class Flood(TelegramError):
    """Telegram wants to be left alone for `after` seconds. (The library's own RetryAfter warns of its future.)"""

    def __init__(self, after: float) -> None:
        super().__init__(f"flood control, for {after:g} s")
        self.after = after


class _Masked(httpx.URL):
    """A URL that is written without the bot's token: httpx writes it into its log."""

    def __str__(self) -> str:
        return re.sub(r"/bot[0-9]+:[^/]+/", f"/bot{TOKEN}/", super().__str__())


class Line(BaseRequest):
    """Requests with the real token, which is known here and nowhere else."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client, self._token = client, token

    @property
    def read_timeout(self) -> float:
        return 20.0

    async def initialize(self) -> None:
        """Nothing: the client is open."""

    async def shutdown(self) -> None:
        """Nothing: the client is the services'."""

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = BaseRequest.DEFAULT_NONE,
        write_timeout: Any = BaseRequest.DEFAULT_NONE,
        connect_timeout: Any = BaseRequest.DEFAULT_NONE,
        pool_timeout: Any = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """See telegram.request.BaseRequest. `url` has TOKEN where the token belongs."""
        read = self.read_timeout if read_timeout is BaseRequest.DEFAULT_NONE else read_timeout
        request = self._client.build_request(
            method,
            url.replace(f"/bot{TOKEN}/", f"/bot{self._token}/"),
            data=request_data.json_parameters if request_data else None,
            headers={"User-Agent": self.USER_AGENT},
            timeout=httpx.Timeout(10.0, read=read, pool=30.0),
        )
        request.url = _Masked(request.url)
        try:
            answer = await self._client.send(request)
        except _NOT_SENT as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        except httpx.TimeoutException as error:
            raise TimedOut from error
        except httpx.HTTPError as error:
            raise NetworkError(f"{type(error).__name__}: {error}") from error
        body = _read(answer)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise Flood(body.get("parameters", {}).get("retry_after", _PAUSE))
        return answer.status_code, answer.content


def _read(answer: httpx.Response) -> dict[str, Any]:
    """What the server says. A proxy's 403 is not Telegram's, so it must not be taken for one."""
    try:
        body: dict[str, Any] = answer.json()
        bool(body["ok"])
    except (ValueError, TypeError, LookupError):
        what = f"{answer.status_code} {answer.reason_phrase}".strip()
        raise NetworkError(f"something else than a Bot API server answered: {what}") from None
    return body


class Updates(Line):
    """The line for getUpdates: what cannot be read comes without content, so that it is not delivered for ever."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(payload)
        if answer["ok"]:
            answer["result"] = [readable(each) for each in answer["result"]]
        return answer


def readable(raw: dict[str, Any]) -> dict[str, Any]:
    """An update as it came, or without content when the library cannot read it."""
    try:
        Update.de_json(raw, None)
    except Exception as error:  # whatever the library makes of a field that it did not expect
        log.warning("update %s cannot be read and is passed over: %r", raw.get("update_id"), error)
        return {"update_id": raw["update_id"]}
    return raw
