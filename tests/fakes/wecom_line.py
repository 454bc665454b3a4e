"""A strict fake of WeCom's long connection for smart bots."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fakes.wecom import broken_off
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

BOT, SECRET = "aib-0123456789", "bot-secret"


class FakeLine:
    """Members say things (`say`) and see answers (`seen`), also as they grow (`frames`).

    refusals  errcodes for the next frames that end a stream or send a message
    """

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = defaultdict(list)
        self.frames: list[tuple[str, bool]] = []
        self.marks: list[str] = []
        self.refusals: deque[int] = deque()
        self.pings = self.connections = 0
        self.deaf = False  # pings are not answered
        self.url = ""
        self._there = asyncio.Event()
        self._bot: ServerConnection | None = None
        self._requests: dict[str, str] = {}
        self._streams: dict[str, bool] = {}
        self._number = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeLine]:
        async with serve(self._talk, "127.0.0.1", 0) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self

    async def say(self, text: str, message_id: int, member: str = "ZhangSan", chat: str = "") -> None:
        """A member writes, in a group with a mention."""
        said = f"@小智 {text}" if chat else text
        await self.deliver(member, message_id, chat, msgtype="text", text={"content": said})

    async def deliver(self, member: str, message_id: int, chat: str = "", **body: Any) -> None:
        """A message or an event."""
        async with asyncio.timeout(30):
            await self._there.wait()
        where = {"chattype": "group", "chatid": chat} if chat else {"chattype": "single"}
        whole = {"msgid": str(message_id), "aibotid": BOT, "from": {"userid": member}, **where, **body}
        self._number += 1
        request, event = f"request-{self._number}", body["msgtype"] == "event"
        self._requests[request] = chat or member
        command = "aibot_event_callback" if event else "aibot_msg_callback"
        assert self._bot is not None
        await self._bot.send(json.dumps({"cmd": command, "headers": {"req_id": request}, "body": whole}))

    async def hang_up(self) -> None:
        """The connection breaks."""
        assert self._bot is not None
        await self._bot.close()

    def forget(self) -> None:
        """All requests are over."""
        self._requests.clear()

    async def _talk(self, socket: ServerConnection) -> None:
        try:
            async for text in socket:
                frame = json.loads(text)
                code = self._taken(frame, socket)
                if code is not None:
                    answer = {
                        "headers": frame["headers"],
                        "errcode": code,
                        "errmsg": "refused" if code else "ok",
                    }
                    await socket.send(json.dumps(answer))
        except ConnectionClosed:
            pass
        finally:
            if self._bot is socket:
                self._there.clear()

    def _taken(self, frame: dict[str, Any], socket: ServerConnection) -> int | None:
        command, request, body = frame["cmd"], frame["headers"]["req_id"], frame.get("body")
        if command == "aibot_subscribe":
            if body != {"bot_id": BOT, "secret": SECRET}:
                return 40001
            self._bot, self.connections = socket, self.connections + 1
            self._there.set()
            return 0
        if socket is not self._bot:
            return 846600
        match command:
            case "ping":
                self.pings += 1
                return None if self.deaf else 0
            case "aibot_respond_msg":
                return self._responded(request, body)
            case "aibot_send_msg":
                if self.refusals:
                    return self.refusals.popleft()
                assert body["msgtype"] == "markdown"
                self.seen[body["chatid"]].append(body["markdown"]["content"])
                return 0
        return 846601

    def _responded(self, request: str, body: dict[str, Any]) -> int:
        stream = body["stream"]
        if request not in self._requests:
            return 846605
        if stream["finish"] and self.refusals:
            return self.refusals.popleft()
        if self._streams.get(stream["id"]) or len(stream["content"].encode()) > 20480:
            return 846608
        if "feedback" in stream:
            assert stream["id"] not in self._streams, "feedback goes with the first frame"
            self.marks.append(stream["feedback"]["id"])
        self._streams[stream["id"]] = stream["finish"]
        self.frames.append((stream["content"], stream["finish"]))
        if stream["finish"] and not broken_off(stream["content"]):
            self.seen[self._requests[request]].append(stream["content"])
        return 0
