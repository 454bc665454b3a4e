"""A strict fake of WeCom: an application and a smart bot with callbacks, their API, and people who look on.

The sealing on this side is wechatpy's.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import xmltodict
from fakes.loopback import serving
from fakes.wechat import Door
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route
from wechatpy.enterprise.crypto import PrpCrypto, WeChatCrypto
from wechatpy.utils import WeChatSigner

from chatgpt2.adapter import Request, Response

CORP, AGENT, SECRET = "ww1436e0e65a779aee", "1000002", "app-secret"
TOKEN, AES_KEY = "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt"
BOT = "aib-0123456789"
_NONCE, _TIMESTAMP = "47744683", "1476416373"


class FakeWeCom:
    """`say` and `deliver` call the application; `app` is the API; `seen` is what members see.

    refusals  errcodes that the next messages are answered with
    """

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = defaultdict(list)
        self.refusals: deque[int] = deque()
        self.gone: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/cgi-bin/gettoken", self._gettoken),
                Route("/cgi-bin/message/send", self._send, methods=["POST"]),
            ]
        )
        self._crypto = WeChatCrypto(TOKEN, AES_KEY, CORP)
        self._tokens = 0

    async def verify(self, door: Door) -> Response:
        """What saving the address on the application's page does, with WeCom's own example."""
        echo = "fsi1xnbH4yQh0+PJxcOdhhK6TDXkjMyhEPA7xB2TGz6b+g7xyAbEkRxN/3cNXW9qdqjnoVzEtpbhnFyq6SVHyA=="
        query = {"msg_signature": "012bc692d0a58dd4b10f8dfe5c4ac00ae211ebeb", "echostr": echo}
        return await door(Request({**query, "timestamp": _TIMESTAMP, "nonce": _NONCE}, {}, b""))

    async def say(self, door: Door, text: str, message_id: int, member: str = "ZhangSan") -> Response:
        """A member writes."""
        return await self.deliver(door, member, MsgType="text", Content=text, MsgId=message_id)

    async def deliver(self, door: Door, member: str, **fields: Any) -> Response:
        """A message or an event."""
        return await door(self.sealed(member, **fields))

    def sealed(self, member: str, **fields: Any) -> Request:
        """A callback."""
        head = {"ToUserName": CORP, "FromUserName": member, "CreateTime": 1476422779, "AgentID": AGENT}
        message = xmltodict.unparse({"xml": {**head, **fields}}, full_document=False)
        parsed = xmltodict.parse(self._crypto.encrypt_message(message, _NONCE, _TIMESTAMP))["xml"]
        query = {"msg_signature": parsed["MsgSignature"], "timestamp": _TIMESTAMP, "nonce": _NONCE}
        body = f"<xml><ToUserName>{CORP}</ToUserName><Encrypt>{parsed['Encrypt']}</Encrypt></xml>"
        return Request(query, {}, body.encode())

    async def _gettoken(self, request: HttpRequest) -> JSONResponse:
        self.calls["token"] += 1
        if request.query_params.get("corpid") != CORP:
            return _error(40013)
        if request.query_params.get("corpsecret") != SECRET:
            return _error(40001)
        self._tokens = self._tokens or 1
        return JSONResponse({"errcode": 0, "errmsg": "ok", "access_token": self._token, "expires_in": 7200})

    async def _send(self, request: HttpRequest) -> JSONResponse:
        self.calls["send"] += 1
        asked = json.loads(await request.body())
        if request.query_params.get("access_token") != self._token:
            return _error(42001)
        if self.refusals:
            return _error(self.refusals.popleft())
        assert asked["agentid"] == int(AGENT) and asked["msgtype"] == "text"
        if asked["touser"] in self.gone:
            return JSONResponse({"errcode": 0, "errmsg": "ok", "invaliduser": asked["touser"]})
        # Longer texts are cut off without a word.
        content = asked["text"]["content"].encode()[:2048].decode(errors="ignore")
        self.seen[asked["touser"]].append(content)
        return JSONResponse({"errcode": 0, "errmsg": "ok", "msgid": f"m{self.calls['send']}"})

    def lose_token(self) -> None:
        """As when it has run out."""
        self._tokens += 1

    @property
    def _token(self) -> str:
        return f"token-{self._tokens}"


class FakeBotPlatform:
    """A smart bot with a callback address. Each message gets a stream, which is asked for until it ends.

    eager  false: nobody asks for streams, as when the chat is closed
    """

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = defaultdict(list)
        self.frames: dict[str, list[str]] = defaultdict(list)
        self.marks: list[str] = []
        self.eager, self.pause = True, 0.05
        self.refusals: deque[int] = deque()  # HTTP statuses of the next calls of a response_url
        self.responded: list[str] = []
        self._asking: dict[str, str] = {}  # streams that have not ended, and their chats
        self._door: Door | None = None
        self.url = ""
        self.app = Starlette(routes=[Route("/response/{code}", self._response, methods=["POST"])])
        self._crypto = PrpCrypto(WeChatCrypto(TOKEN, AES_KEY, "").key)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeBotPlatform]:
        """The people look on."""
        async with serving(self.app) as self.url:
            task = asyncio.create_task(self._ask_all())
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def rest(self) -> None:
        """Wait until all streams have ended."""
        async with asyncio.timeout(30):
            while self._asking:
                await asyncio.sleep(0.01)

    async def say(
        self, door: Door, text: str, message_id: int, member: str = "ZhangSan", chat: str = ""
    ) -> None:
        """A member writes, in a group with a mention."""
        said = f"@小智 {text}" if chat else text
        await self.deliver(door, member, message_id, chat, msgtype="text", text={"content": said})

    async def deliver(
        self, door: Door, member: str, message_id: int, chat: str = "", **body: Any
    ) -> dict[str, Any] | None:
        """A message or an event; gives what it was answered with."""
        where = {"chattype": "group", "chatid": chat} if chat else {"chattype": "single"}
        whole = {"msgid": str(message_id), "aibotid": BOT, "from": {"userid": member}, **where, **body}
        if body["msgtype"] != "event":
            whole["response_url"] = f"{self.url}/response/{message_id}?chat={chat or member}"
        answer = await self.call(door, whole)
        if answer is not None:
            stream = self._stream(answer)
            self.marks.append(stream["feedback"]["id"])
            self._door = door
            if self.eager and stream["id"] not in self.frames:
                self.frames[stream["id"]] = []
                self._asking[stream["id"]] = chat or member
        return answer

    async def call(self, door: Door, body: dict[str, Any]) -> dict[str, Any] | None:
        """One callback, sealed, and its answer, opened."""
        answer = await door(self.sealed(body))
        assert answer.status == 200, answer
        return self.opened(answer) if answer.body else None

    def opened(self, answer: Response) -> dict[str, Any]:
        """What the bot sealed."""
        outer = json.loads(answer.body)
        assert outer.keys() == {"encrypt", "msgsignature", "timestamp", "nonce"}
        assert isinstance(outer["timestamp"], int)
        assert _signed(outer["encrypt"], str(outer["timestamp"]), outer["nonce"]) == outer["msgsignature"]
        opened: dict[str, Any] = json.loads(self._crypto.decrypt(outer["encrypt"], ""))
        return opened

    def sealed(self, body: dict[str, Any]) -> Request:
        """A callback."""
        sealed = self._crypto.encrypt(json.dumps(body), "").decode()
        query = {
            "msg_signature": _signed(sealed, _TIMESTAMP, _NONCE),
            "timestamp": _TIMESTAMP,
            "nonce": _NONCE,
        }
        return Request(query, {}, json.dumps({"encrypt": sealed}).encode())

    async def _ask_all(self) -> None:
        while True:
            await asyncio.sleep(self.pause)
            for name, chat in list(self._asking.items()):
                await self._ask(name, chat)

    async def _ask(self, name: str, chat: str) -> None:
        assert self._door is not None
        asked = {"msgtype": "stream", "aibotid": BOT, "stream": {"id": name}}
        answer = await self._door(self.sealed(asked))
        if answer.status != 200:  # the bot is not there now
            return
        stream = self._stream(self.opened(answer))
        self.frames[name].append(stream["content"])
        if stream["finish"]:
            self.seen[chat] += [] if broken_off(stream["content"]) else [stream["content"]]
            del self._asking[name]

    def _stream(self, answer: dict[str, Any]) -> dict[str, Any]:
        assert answer["msgtype"] == "stream"
        stream: dict[str, Any] = answer["stream"]
        assert isinstance(stream["finish"], bool) and len(stream["content"].encode()) <= 20480
        return stream

    async def _response(self, request: HttpRequest) -> JSONResponse:
        code = request.path_params["code"]
        if self.refusals:
            return JSONResponse({}, self.refusals.popleft())
        if code in self.responded:
            return _error(60140)
        self.responded.append(code)
        body = await request.json()
        assert body["msgtype"] == "markdown"
        self.seen[request.query_params["chat"]].append(body["markdown"]["content"])
        return _error(0)


def broken_off(text: str) -> bool:
    """Whether this is what was shown of an answer that never came. An ellipsis that ends one is two, in Chinese."""
    return text.endswith("…") and not text.endswith("……")


def _signed(sealed: str, timestamp: str, nonce: str) -> str:
    signer = WeChatSigner()
    signer.add_data(TOKEN, timestamp, nonce, sealed)
    return str(signer.signature)


def _error(code: int) -> JSONResponse:
    return JSONResponse({"errcode": code, "errmsg": "refused" if code else "ok"})
