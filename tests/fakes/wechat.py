"""A strict fake of WeChat for one Official Account: it calls the account's server, and it has the API.

The sealing on this side is wechatpy's, so that ours is held against somebody else's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from xml.sax.saxutils import escape

import xmltodict
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route
from wechatpy.crypto import WeChatCrypto
from wechatpy.utils import check_signature, random_string

from chatgpt2.adapter import Request, Response

Door = Callable[[Request], Awaitable[Response]]
Mode = Literal["plain", "compatible", "safe"]

APP_ID, SECRET, TOKEN = "wx2c2769f8efd9abc2", "0123456789abcdef0123456789abcdef", "spamtest"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
ORIGINAL = "gh_0123456789ab"
OUT_OF_SERVICE = "该公众号暂时无法提供服务，请稍后再试"
_DELIVERIES, _WINDOW, _MESSAGES = 3, 48 * 3600, 5


class FakeWeChat:
    """People's phones (`seen`), the callbacks (`say`, `deliver`) and the API (`app`).

    rights    whether the account may send customer-service messages
    refusals  errcodes that the next messages are answered with
    stale     the errcode for a token that is not the present one: 40001, 40014 or 42001
    """

    def __init__(self, mode: Mode = "safe", *, rights: bool = True, stale: int = 40001) -> None:
        self.mode, self.rights, self.stale = mode, rights, stale
        self.seen: dict[str, list[str]] = defaultdict(list)
        self.typing: list[tuple[str, str]] = []
        self.refusals: deque[int] = deque()
        self.calls: Counter[str] = Counter()
        self.deliveries: Counter[str] = Counter()
        self.ahead = 0.0  # seconds that this clock is ahead of the real one
        self.app = Starlette(
            routes=[
                Route("/cgi-bin/stable_token", self._stable_token, methods=["POST"]),
                Route("/cgi-bin/message/custom/send", self._send, methods=["POST"]),
                Route("/cgi-bin/message/custom/typing", self._typing, methods=["POST"]),
            ]
        )
        self._crypto = WeChatCrypto(TOKEN, AES_KEY, APP_ID)
        self._tokens = 0
        self._spoke: dict[str, float] = {}
        self._budget: Counter[str] = Counter()

    # Callbacks

    def query(self, **more: str) -> dict[str, str]:
        """A signed query, for this minute."""
        timestamp, nonce = str(int(self._now())), random_string(10)
        return {"signature": _signed(timestamp, nonce), "timestamp": timestamp, "nonce": nonce, **more}

    async def verify(self, door: Door) -> bool:
        """What saving the address on the account's page does."""
        answer = await door(Request(self.query(echostr="5838479218127813673"), {}, b""))
        return answer.status == 200 and answer.body == b"5838479218127813673"

    async def say(self, door: Door, text: str, message_id: int, person: str = "oPerson") -> None:
        """Somebody writes."""
        self._spoke[person] = self._now()
        self._budget[person] += 0 if self.deliveries[str(message_id)] else _MESSAGES
        await self.deliver(door, self.message(person, MsgType="text", Content=text, MsgId=message_id))

    def message(self, person: str, **fields: Any) -> dict[str, Any]:
        """A message or an event."""
        head = {"ToUserName": ORIGINAL, "FromUserName": person, "CreateTime": int(self._now())}
        return {**head, **fields}

    async def deliver(self, door: Door, message: dict[str, Any]) -> None:
        """Three times at most, until somebody answers. WeChat hangs up after 5 seconds, which 504 stands for here:
        the account's server says it when its own watch says so, and slow machines do not matter."""
        person = message["FromUserName"]
        for _ in range(_DELIVERIES):
            self.deliveries[str(message.get("MsgId"))] += 1
            request = self.sealed(message)
            answer = await asyncio.wait_for(door(request), 60)
            if answer.status != 504:
                shown = self._shown(answer, request, person)
                self.seen[person] += [shown] if shown else []
                return
        self.seen[person].append(OUT_OF_SERVICE)

    def sealed(self, message: dict[str, Any]) -> Request:
        """The message as the mode wants it."""
        inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in message.items())
        if self.mode == "plain":
            return Request(self.query(), {}, f"<xml>{inner}</xml>".encode())
        query = self.query(encrypt_type="aes")
        sealed = self._crypto.encrypt_message(f"<xml>{inner}</xml>", query["nonce"], query["timestamp"])
        parsed = xmltodict.parse(sealed)["xml"]
        also = inner if self.mode == "compatible" else f"<ToUserName>{ORIGINAL}</ToUserName>"
        body = f"<xml>{also}<Encrypt>{parsed['Encrypt']}</Encrypt></xml>"
        return Request({**query, "msg_signature": parsed["MsgSignature"]}, {}, body.encode())

    def _shown(self, answer: Response, request: Request, person: str) -> str:
        """What the person sees of an answer."""
        if answer.status == 200 and answer.body in (b"", b"success"):
            return ""
        try:
            assert answer.status == 200
            body = xmltodict.parse(answer.body.decode())["xml"]
            assert self.mode != "safe" or set(body) == {"Encrypt", "MsgSignature", "TimeStamp", "Nonce"}
            if "Encrypt" in body:
                opened = self._crypto.decrypt_message(
                    body, body["MsgSignature"], body["TimeStamp"], body["Nonce"]
                )
                body = xmltodict.parse(opened)["xml"]
            assert (body["ToUserName"], body["FromUserName"]) == (person, ORIGINAL)
            assert body["MsgType"] == "text" and abs(int(body["CreateTime"]) - self._now()) < 3600
            assert 0 < len(body["Content"].encode()) <= 2047
        except Exception:
            return OUT_OF_SERVICE
        return str(body["Content"])

    # API

    async def _stable_token(self, request: HttpRequest) -> JSONResponse:
        self.calls["token"] += 1
        asked = json.loads(await request.body())
        assert asked.keys() == {"grant_type", "appid", "secret", "force_refresh"}
        if asked["appid"] != APP_ID:
            return _error(40013, "invalid appid")
        if asked["secret"] != SECRET:
            return _error(40125, "invalid appsecret")
        if asked["force_refresh"] or not self._tokens:
            self._tokens += 1
        return JSONResponse({"access_token": self._token, "expires_in": 7200})

    async def _send(self, request: HttpRequest) -> JSONResponse:
        self.calls["send"] += 1
        raw = await request.body()
        asked = json.loads(raw)
        person = asked["touser"]
        code = self._refused(request, person)
        if code:
            return _error(code, "refused")
        # WeChat passes \u escapes on as they are.
        content = asked["text"]["content"] if b"\\u" not in raw else raw.decode()
        if asked["msgtype"] != "text" or len(content.encode()) > 2047:
            return _error(45002, "content size out of limit")
        self._budget[person] -= 1
        self.seen[person].append(content)
        return _error(0, "ok")

    def _refused(self, request: HttpRequest, person: str) -> int:
        if request.query_params.get("access_token") != self._token:
            return self.stale
        if self.refusals:
            return self.refusals.popleft()
        if not self.rights:
            return 48001
        if self._now() - self._spoke.get(person, 0) > _WINDOW:
            return 45015
        return 0 if self._budget[person] > 0 else 45047

    async def _typing(self, request: HttpRequest) -> JSONResponse:
        asked = json.loads(await request.body())
        assert asked["command"] in ("Typing", "CancelTyping")
        if request.query_params.get("access_token") != self._token:
            return _error(self.stale, "invalid credential")
        last = [command for person, command in self.typing if person == asked["touser"]][-1:]
        if last == ["Typing"] == [asked["command"]]:
            return _error(45081, "already typing")
        self.typing.append((asked["touser"], asked["command"]))
        return _error(0, "ok")

    def lose_token(self) -> None:
        """As when somebody asks for another one elsewhere."""
        self._tokens += 1

    @property
    def _token(self) -> str:
        return f"TOKEN-{self._tokens}-" + "x" * 100

    def _now(self) -> float:
        return time.time() + self.ahead


def _signed(timestamp: str, nonce: str) -> str:
    given = hashlib.sha1("".join(sorted([TOKEN, timestamp, nonce])).encode()).hexdigest()
    check_signature(TOKEN, given, timestamp, nonce)
    return given


def _error(code: int, why: str) -> JSONResponse:
    return JSONResponse({"errcode": code, "errmsg": why})
