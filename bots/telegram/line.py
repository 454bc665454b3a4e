"""The line to the Bot API server: python-telegram-bot's requests over the services' HTTP client."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
from telegram import Update
from telegram.error import NetworkError, TelegramError, TimedOut
from telegram.request import BaseRequest, RequestData

# What stands in URLs where the token belongs: the library and everything that logs see no more than this.
TOKEN = "TOKEN"

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)

log = logging.getLogger(__name__)


class NotSent(NetworkError):
    """The request did not get as far as the server."""


class Flood(TelegramError):
    """Telegram wants to be left alone for `after` seconds. (The library's own RetryAfter warns of its future.)"""

    def __init__(self, after: float) -> None:
        super().__init__(f"flood control, for {after:g} s")
        self.after = after


class Line(BaseRequest):
    """Requests with the real token, which is put into the request line and nowhere else.

    `answered` is called whenever the server has answered.
    """

    def __init__(self, client: httpx.AsyncClient, token: str, answered: Callable[[], None]) -> None:
        self._client, self._token, self._answered = client, token, answered

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
        path = httpx.URL(url).raw_path.replace(TOKEN.encode(), self._token.encode())
        try:
            answer = await self._client.request(
                method,
                url,
                data=request_data.json_parameters if request_data else None,
                headers={"User-Agent": self.USER_AGENT},
                timeout=httpx.Timeout(10.0, read=read, pool=30.0),
                extensions={"target": path},
            )
        except _NOT_SENT as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        except httpx.TimeoutException as error:
            raise TimedOut from error
        except httpx.HTTPError as error:
            raise NetworkError(f"{type(error).__name__}: {error}") from error
        self._answered()
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise Flood(_pause(answer))
        return answer.status_code, answer.content

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Raises TelegramError when something that is no Bot API server has answered."""
        try:
            answer = json.loads(payload)
            return {**answer, "result": answer["result"]} if answer["ok"] else {**answer}
        except (ValueError, TypeError, KeyError):
            raise TelegramError("something else than a Bot API server answers there") from None


def _pause(answer: httpx.Response) -> float:
    try:
        return float(answer.json()["parameters"]["retry_after"])
    except (ValueError, TypeError, KeyError):  # a proxy's 429
        return 5.0


class Updates(Line):
    """The line for getUpdates: what cannot be read comes without content, so that it is not delivered for ever."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        answer = Line.parse_json_payload(payload)
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
