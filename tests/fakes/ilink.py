"""A strict fake of Tencent's iLink. The shapes are those of its own client, @tencent-weixin/openclaw-weixin 2.4.9."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter, defaultdict, deque
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

BOT, OWNER = "0123456789ab@im.bot", "o9cq80@im.wechat"
_SENDS, _WINDOW = 10, 24 * 3600.0
_HOLD = 0.2  # seconds that an empty poll is held


class FakeIlink:
    """A phone (`say`, `seen`) and the API (`app`).

    statuses  what the next asks for the state of a QR code say; then it waits
    faults    rets, or HTTP statuses from 400 on, that the next calls of a path are answered with
    """

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = defaultdict(list)
        self.typing: list[int] = []
        self.calls: Counter[str] = Counter()
        self.statuses: deque[dict[str, Any]] = deque()
        self.faults: dict[str, deque[int]] = defaultdict(deque)
        self.cursors: list[str] = []
        self.verify_codes: list[str] = []
        self.token = "bot-token-1"
        self.codes = 0
        self.ahead = 0.0
        self.url = ""
        self._messages: list[dict[str, Any]] = []
        self.contexts: list[str] = []  # that messages were sent with
        self._contexts: dict[str, tuple[float, int]] = {}
        self._given: set[str] = set()
        self._sent: dict[str, str] = {}
        self._news = asyncio.Event()
        paths = ("getupdates", "sendmessage", "getconfig", "sendtyping", "msg/notifystart", "msg/notifystop")
        self.app = Starlette(
            routes=[
                Route("/ilink/bot/get_bot_qrcode", self._qr_code, methods=["POST"]),
                Route("/ilink/bot/get_qrcode_status", self._qr_status),
                *(Route(f"/ilink/bot/{path}", self._called, methods=["POST"]) for path in paths),
            ]
        )

    def say(
        self, text: str, message_id: int, person: str = OWNER, *, numbered: bool = True, **changed: Any
    ) -> None:
        """The owner writes, or what he wrote is delivered again."""
        context, self._contexts[person] = f"context-{person}-{message_id}", (self._now(), 0)
        self._given.add(context)
        message = {
            "seq": message_id,
            "message_id": message_id if numbered else 0,
            "from_user_id": person,
            "to_user_id": BOT,
            "client_id": f"phone-{message_id}",
            "create_time_ms": int(self._now() * 1000),
            "session_id": "",
            "group_id": "",
            "message_type": 1,
            "message_state": 2,
            "item_list": [{"type": 1, "text_item": {"text": text}}],
            "context_token": context,
        }
        self._messages.append({**message, **changed})
        self._news.set()

    async def _qr_code(self, request: Request) -> Response:
        self._check_headers(request, known=False)
        assert request.query_params["bot_type"] == "3"
        body = await request.json()
        assert body.keys() == {"local_token_list"} and len(body["local_token_list"]) <= 10
        self.codes += 1
        return JSONResponse({"qrcode": f"qr-{self.codes}", "qrcode_img_content": f"https://x/{self.codes}"})

    async def _qr_status(self, request: Request) -> Response:
        assert request.query_params["qrcode"] == f"qr-{self.codes}"
        assert "authorization" not in request.headers and request.headers["ilink-app-id"] == "bot"
        if "verify_code" in request.query_params:
            self.verify_codes.append(request.query_params["verify_code"])
        status = self.statuses.popleft() if self.statuses else {"status": "wait"}
        return Response(status_code=524) if status["status"] == "timeout" else JSONResponse(status)

    def confirmed(self) -> dict[str, Any]:
        """The status of a code that has been scanned and confirmed."""
        login = {"bot_token": self.token, "ilink_bot_id": BOT, "ilink_user_id": OWNER, "baseurl": self.url}
        return {"status": "confirmed", **login}

    async def _called(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/ilink/bot/")
        self.calls[path] += 1
        self._check_headers(request, known=True)
        body = json.loads(await request.body())
        assert body.pop("base_info").keys() == {"channel_version", "bot_agent"}
        if self.faults[path]:
            code = self.faults[path].popleft()
            headers = {"Retry-After": "0"} if code == 429 else {}
            return Response(status_code=code, headers=headers) if code >= 400 else JSONResponse({"ret": code})
        if request.headers["authorization"] != f"Bearer {self.token}":
            return JSONResponse({"errcode": -14, "errmsg": "session timeout"})
        match path:
            case "getupdates":
                return JSONResponse(await self._updates(body))
            case "sendmessage":
                return JSONResponse(self._send(body))
            case "getconfig":
                assert body.keys() == {"ilink_user_id", "context_token"}
                return JSONResponse({"ret": 0, "typing_ticket": f"ticket-{body['ilink_user_id']}"})
            case "sendtyping":
                assert body["typing_ticket"] == f"ticket-{body['ilink_user_id']}"
                assert body["status"] in (1, 2)
                self.typing.append(body["status"])
            case "msg/notifystop":
                self._news.set()  # who is waiting need not any more
        return JSONResponse({"ret": 0})

    def _check_headers(self, request: Request, *, known: bool) -> None:
        headers = request.headers
        assert headers["content-type"] == "application/json"
        assert headers["authorizationtype"] == "ilink_bot_token"
        assert 0 <= int(base64.b64decode(headers["x-wechat-uin"])) < 1 << 32
        assert (headers["ilink-app-id"], headers["ilink-app-clientversion"]) == ("bot", "132105")
        assert ("authorization" in headers) == known

    async def _updates(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body.keys() == {"get_updates_buf"}
        self.cursors.append(body["get_updates_buf"])
        done = int(body["get_updates_buf"] or 0)
        if done >= len(self._messages):
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _HOLD)
        return {
            "ret": 0,
            "msgs": self._messages[done:],
            "get_updates_buf": str(len(self._messages)),
            "longpolling_timeout_ms": 35000,
        }

    def _send(self, body: dict[str, Any]) -> dict[str, Any]:
        message = body["msg"]
        required = {"from_user_id", "to_user_id", "client_id", "message_type", "message_state", "item_list"}
        assert required <= message.keys() <= required | {"context_token", "run_id"}
        assert (message["from_user_id"], message["message_type"], message["message_state"]) == ("", 2, 2)
        (item,) = message["item_list"]
        assert item.keys() == {"type", "text_item"} and 0 < len(item["text_item"]["text"]) <= 4000
        person = message["to_user_id"]
        since, sent = self._contexts.get(person, (0.0, 0))
        if message["client_id"] in self._sent:
            return {"ret": 0, "message_id": self._sent[message["client_id"]]}
        context = message.get("context_token")
        if context not in self._given or not context.startswith(f"context-{person}-"):
            return {"ret": 0}  # and nobody sees it
        self.contexts.append(context)
        if sent >= _SENDS or self._now() - since > _WINDOW:
            return {"ret": -2}
        self._contexts[person] = (since, sent + 1)
        self.seen[person].append(item["text_item"]["text"])
        self._sent[message["client_id"]] = str((1 << 63) + len(self._sent))
        return {"ret": 0, "message_id": self._sent[message["client_id"]]}

    def _now(self) -> float:
        return time.time() + self.ahead
