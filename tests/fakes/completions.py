"""A strict fake of vLLM's /v1/completions and /v1/models: what the real one refuses, it refuses.

It answers with token ids that follow from the prompt, one event each, and can be told to fail.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

Fault = Literal[
    "500", "503", "507", "429", "hang up", "break off", "no ids", "refuse", "error", "hold", "garbage"
]

_KINDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "prompt": (list,),
    "stream": (bool,),
    "return_token_ids": (bool,),
    "max_tokens": (int,),
    "min_tokens": (int,),
    "temperature": (float, int),
    "top_k": (int,),
    "top_p": (float, int),
    "repetition_penalty": (float, int),
    "stop_token_ids": (list,),
    "seed": (int, type(None)),
    "n": (int,),
    "logit_bias": (dict,),
    "ignore_eos": (bool,),
}


def answer(prompt: list[int], index: int = 0) -> list[int]:
    """What the fake says: five ids that only this prompt and index have."""
    return [10 + (sum(prompt) + index * 7 + place) % 40 for place in range(5)]


class FakeCompletions:
    """Counts what it is asked and does once, in order, whatever is put into `faults`."""

    def __init__(self, vocabulary: int, key: str | None = None, stop_id: int = 3) -> None:
        self.vocabulary, self.key, self.stop_id = vocabulary, key, stop_id
        self.faults: deque[Fault] = deque()
        self.retry_after: int | None = None  # seconds, said with every refusal that is not for good
        self.connections = 0  # that are open
        self.bodies: list[dict[str, Any]] = []
        self.left = asyncio.Event()  # a caller has gone in the middle of a reply
        self.go: asyncio.Event | None = None  # what follows the first token waits for it
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeCompletions]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer_one(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()
            self.connections -= 1

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        request, *lines = head.strip().split("\r\n")
        method, path, _ = request.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return self._plain(writer, 401, {"error": {"message": "Unauthorized"}})
        if (method, path) == ("GET", "/v1/models"):
            return self._plain(writer, 200, {"object": "list", "data": [{"id": "little", "object": "model"}]})
        if (method, path) != ("POST", "/v1/completions"):
            return self._plain(writer, 404, {"error": {"message": "Not Found"}})
        parsed = json.loads(body)
        if wrong := self._wrong(parsed):
            return self._plain(
                writer, 400, {"error": {"message": wrong, "type": "BadRequestError", "code": 400}}
            )
        self.bodies.append(parsed)
        await self._complete(parsed, self.faults.popleft() if self.faults else None, reader, writer)

    def _wrong(self, body: dict[str, Any]) -> str | None:
        for name, value in body.items():
            if name not in _KINDS or not isinstance(value, _KINDS[name]):
                return f"{name}: {value!r} is not allowed"
        if body["model"] != "little":
            return f"The model `{body['model']}` does not exist."
        if not body["prompt"] or any(not 0 <= i < self.vocabulary for i in body["prompt"]):
            return "Token id is out of vocabulary"
        if any(not -100 <= value <= 100 for value in body["logit_bias"].values()):
            return "logit_bias out of range"
        if not 0 <= body["min_tokens"] <= body["max_tokens"] or body["max_tokens"] < 1:
            return "min_tokens must be less than or equal to max_tokens"
        return (
            None if body["top_k"] == -1 or body["top_k"] > 0 else "top_k must be -1 (disable) or at least 1"
        )

    async def _complete(
        self,
        body: dict[str, Any],
        fault: Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if fault == "hang up":
            return None
        if fault and fault.isdigit():
            after = [] if self.retry_after is None else [f"Retry-After: {self.retry_after}"]
            return self._plain(writer, int(fault), {"error": {"message": "the model is loading"}}, *after)
        if fault == "refuse":
            return self._plain(writer, 400, {"error": {"message": "the context is too long"}})
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in self._events(body, fault):
            if fault == "hold" and reader.at_eof() | (await self._gone(reader)):
                self.left.set()
                return None
            data = event if isinstance(event, str) else json.dumps(event)
            chunk = f"data: {data}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
            if self.go is not None and not await self._may_go(reader):
                return None
        if fault != "break off":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        return None

    async def _may_go(self, reader: asyncio.StreamReader) -> bool:
        """Wait for `go`. False: the caller has left."""
        assert self.go is not None
        going, leaving = asyncio.create_task(self.go.wait()), asyncio.create_task(reader.read(1))
        await asyncio.wait({going, leaving}, return_when=asyncio.FIRST_COMPLETED)
        going.cancel()
        leaving.cancel()
        await asyncio.wait({going, leaving})
        return self.go.is_set()

    async def _gone(self, reader: asyncio.StreamReader) -> bool:
        """Wait for the caller to leave before the second token."""
        try:
            return await asyncio.wait_for(reader.read(1), 0.2) == b""
        except TimeoutError:
            return False

    def _events(self, body: dict[str, Any], fault: Fault | None) -> list[Any]:
        events: list[Any] = []
        for place in range(6):
            for index in range(body["n"]):
                ids = [*answer(body["prompt"], index)[: body["max_tokens"]], self.stop_id]
                if place >= len(ids):
                    continue
                cut = len(ids) <= 5
                last = place == len(ids) - 1
                ended = ("length" if cut else "stop") if last else None
                choice = {"index": index, "text": "字", "token_ids": [ids[place]], "finish_reason": ended}
                if last and cut:
                    choice |= {"text": "", "token_ids": []}
                events.append({"object": "text_completion", "choices": [choice]})
        if fault == "no ids":
            for event in events:
                del event["choices"][0]["token_ids"]
        if fault == "break off":
            return events[:2]
        if fault == "error":
            return [events[0], {"error": {"message": "EngineDeadError"}}]
        return ["not json"] if fault == "garbage" else [*events, "[DONE]"]

    @staticmethod
    def _plain(writer: asyncio.StreamWriter, status: int, body: dict[str, Any], *headers: str) -> None:
        data = json.dumps(body).encode()
        lines = [
            f"HTTP/1.1 {status} -",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            "Connection: close",
            *headers,
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
