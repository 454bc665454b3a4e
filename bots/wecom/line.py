"""One long connection to WeCom: frames in, frames out, each of ours acknowledged."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy

from chatgpt2.adapter import AdapterError, ConfigError, RetryLater

_ACKNOWLEDGED = 5.0  # seconds
_MISSES = 2  # pings without an answer, after which the connection is dead
_CALLBACKS = ("aibot_msg_callback", "aibot_event_callback")


class Refused(AdapterError):
    """WeCom did not take a frame. `code` is its errcode."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(f"{code}: {why}")


class Line:
    """Iterate over it to receive callbacks; `ask` sends. Ends when the connection does."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._frames: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self._turns: dict[str, asyncio.Lock] = {}
        self._heard = time.monotonic()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, bot_id: str, secret: str, beat: float, proxy: str | None = None
    ) -> AsyncIterator[Line]:
        """Connect and subscribe. `proxy`: None is the environment's. Raises RetryLater when nobody is reached,
        AdapterError when the bot is refused, ConfigError for a proxy that is none."""
        try:
            socket = await connect(url, ping_interval=None, max_size=1 << 20, proxy=proxy or True)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise RetryLater(5, f"{url} cannot be reached: {error}") from None
        except InvalidProxy as error:
            # Without the proxy itself, which may hold a password.
            raise ConfigError(f"proxy cannot be used: {error.msg}") from None
        line = cls(socket)
        tasks = [asyncio.create_task(line._listen()), asyncio.create_task(line._beat(beat))]
        try:
            try:
                await line.ask("aibot_subscribe", {"bot_id": bot_id, "secret": secret})
            except Refused as error:
                raise AdapterError(f"WeCom refuses the bot: check bot-id and secret ({error})") from None
            yield line
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await socket.close()

    def heard(self, clock: Callable[[], float]) -> float:
        """When the last frame came, by this clock."""
        return clock() - (time.monotonic() - self._heard)

    async def __aiter__(self) -> AsyncIterator[Mapping[str, Any]]:
        while (frame := await self._frames.get()) is not None:
            yield frame

    async def ask(self, command: str, body: Mapping[str, Any] | None = None, request: str = "") -> None:
        """Send a frame and wait until it is acknowledged; `request` is what it answers. Frames of one request go one
        by one. Raises Refused; RetryLater when the connection is gone; TimeoutError when nothing came back."""
        request = request or f"{command}_{uuid4().hex}"
        frame = {"cmd": command, "headers": {"req_id": request}, **({} if body is None else {"body": body})}
        turn = self._turns.setdefault(request, asyncio.Lock())
        try:
            async with turn:
                answer = await self._exchange(request, json.dumps(frame, ensure_ascii=False))
        finally:
            if not turn.locked():
                self._turns.pop(request, None)
        if answer.get("errcode"):
            raise Refused(int(answer["errcode"]), str(answer.get("errmsg", "")))

    async def _exchange(self, request: str, frame: str) -> Mapping[str, Any]:
        answer = self._waiting[request] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send(frame)
            return await asyncio.wait_for(answer, _ACKNOWLEDGED)
        except ConnectionClosed:
            raise RetryLater(2, "the connection to WeCom is gone") from None
        finally:
            self._waiting.pop(request, None)

    async def _listen(self) -> None:
        try:
            async for text in self._socket:
                self._heard = time.monotonic()
                frame = json.loads(text)
                if frame.get("cmd") in _CALLBACKS:
                    self._frames.put_nowait(frame)
                elif (answer := self._waiting.get(frame["headers"]["req_id"])) and not answer.done():
                    answer.set_result(frame)
        except (ConnectionClosed, ValueError, KeyError, TypeError):
            pass
        finally:
            self._frames.put_nowait(None)

    async def _beat(self, seconds: float) -> None:
        misses = 0
        while misses < _MISSES:
            await asyncio.sleep(seconds)
            misses += 1
            with suppress(TimeoutError, AdapterError):
                await self.ask("ping")
                misses = 0
        await self._socket.close()
