"""The load of benchmarks/serve.py: the service in its process, and clients of it that cost little themselves."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_KEPT = 3.0  # seconds that a connection is kept for the next turn; the service does so for five
_END = b"0\r\n\r\n"  # of a chunked answer
_DONE = b"data: [DONE]\n\n"


class Client(asyncio.Protocol):
    """One connection, kept open as browsers and the openai client do, with one request at a time."""

    def __init__(self) -> None:
        self._come = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._first: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport

    def data_received(self, data: bytes) -> None:
        self._come += data
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        if self._answer is not None and not self._answer.done() and self._whole():
            self._answer.set_result(bytes(self._come))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the service closed the connection"))

    def _whole(self) -> bool:
        head, end, rest = bytes(self._come).lower().partition(b"\r\n\r\n")
        _, known, length = head.partition(b"content-length: ")
        if known:
            return bool(end) and len(rest) >= int(length.split(b"\r\n")[0])
        return rest.endswith(_END)

    async def ask(self, method: str, path: str, body: Any) -> bytes:
        """The answer, head and all."""
        self._come.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(_request(method, path, body))
        answer = await self._answer
        assert answer.split(b" ", 2)[1] in (b"200", b"201"), answer[:400]
        return answer

    async def turn(self, session: str, text: str) -> None:
        """Say something and read the reply as a stream, to its end."""
        answer = await self.ask("POST", f"/api/sessions/{session}/messages", {"text": text, "stream": True})
        assert _DONE in answer and b'"error"' not in answer, answer[-300:]

    async def begin_turn(self, session: str) -> None:
        """A turn whose first piece has come."""
        self._first = asyncio.get_running_loop().create_future()
        body = {"text": "在吗", "stream": True}
        self.transport.write(_request("POST", f"/api/sessions/{session}/messages", body))
        await self._first
        assert self._come.startswith(b"HTTP/1.1 200"), self._come[:400]


def _request(method: str, path: str, body: Any) -> bytes:
    content = json.dumps(body, ensure_ascii=False).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Service:
    """The service in its process: asked over HTTP, and for figures of itself over a pipe."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self._port = process, port
        self._idle: deque[tuple[float, Client]] = deque()  # and since when

    async def tell(self, what: str) -> float:
        """A figure: "engine" tokens/s of the bare engine, "memory" bytes, "cpu" seconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return float(await self._process.stdout.readline())

    async def connect(self) -> Client:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Client, "127.0.0.1", self._port))[1]

    async def new_sessions(self, count: int) -> list[str]:
        """As many new sessions."""
        client = await self.connect()
        answers = [await client.ask("POST", "/api/sessions", {}) for _ in range(count)]
        client.transport.close()
        return [str(json.loads(answer.partition(b"\r\n\r\n")[2])["id"]) for answer in answers]

    async def turn(self, session: str, text: str) -> None:
        """A turn on a connection that nobody uses now."""
        while self._idle and time.monotonic() - self._idle[0][0] > _KEPT:
            self._idle.popleft()[1].transport.close()
        client = self._idle.popleft()[1] if self._idle else await self.connect()
        await client.turn(session, text)
        self._idle.append((time.monotonic(), client))


@asynccontextmanager
async def serving(kind: str, folder: Path) -> AsyncIterator[Service]:
    """A service of this kind; see serve_service."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("serve.py")), "--be", kind, "--folder", str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        yield Service(process, int(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()
