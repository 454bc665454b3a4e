"""What a request may take: bytes, seconds, history. And who may ask from a browser."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.talking import Scripted
from serving import served

from chatgpt2.server.passage import Limits
from chatgpt2.store import SessionKey, SessionStore

BODY: Any = {"model": "小智", "messages": [{"role": "user", "content": "你好"}]}


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that takes no more than a byte before it is read from."""
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port), limit=1)


class Endless(Scripted):
    """It never comes to an end after its first letter."""

    def __init__(self) -> None:
        super().__init__()
        self.pause = asyncio.Event()


async def test_a_reply_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    engine = Endless()
    limits = {"limits": Limits(seconds=0.5)}
    async with served(tmp_path, engine, http=limits) as url, httpx.AsyncClient(base_url=url) as http:
        whole = await http.post("/v1/chat/completions", json=BODY)
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "timeout")
        session = (await http.post("/api/sessions", json={})).json()["id"]
        for path, body in (
            ("/v1/chat/completions", BODY),
            (f"/api/sessions/{session}/messages", {"text": "你好"}),
        ):
            stream = await http.post(path, json=body | {"stream": True})
            last = stream.text.strip().rpartition("data: ")[2]
            assert (stream.status_code, json.loads(last)["error"]["code"]) == (200, "timeout")
        assert "504" in (await http.get("/metrics")).text
        async with asyncio.timeout(10):
            while engine.running:
                await asyncio.sleep(0.01)
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        assert not await store.record(SessionKey("web", chat=session))


async def test_who_takes_nothing_does_not_keep_the_engine(tmp_path: Path) -> None:
    class Flood(Scripted):
        async def generate(self, prompt_ids: Any, params: Any) -> Any:
            self.running += 1
            try:
                while True:
                    async for step in super().generate(prompt_ids, params):
                        if not step.finish:
                            yield step
            finally:
                self.running -= 1

    engine = Flood()
    async with served(tmp_path, engine, http={"limits": Limits(seconds=1)}) as url:
        body = json.dumps(BODY | {"stream": True}).encode()
        _, writer = await connected(url)
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(30):
            while not engine.running:
                await asyncio.sleep(0.01)
            while engine.running:
                await asyncio.sleep(0.01)
        writer.transport.abort()


@pytest.mark.parametrize(
    ("length", "beginning"), [("Content-Length: 14", b'{"'), ("Transfer-Encoding: chunked", b'2\r\n{"\r\n')]
)
async def test_a_body_that_comes_too_slowly_is_refused(tmp_path: Path, length: str, beginning: bytes) -> None:
    async with served(tmp_path, Scripted(), http={"limits": Limits(body_seconds=0.3)}) as url:
        reader, writer = await connected(url)
        writer.write(HEAD + f"{length}\r\n\r\n".encode() + beginning)
        async with asyncio.timeout(30):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 408 ") and b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == "request_timeout"


async def test_a_history_that_is_too_long_is_refused(tmp_path: Path) -> None:
    def said(times: int, text: str) -> Any:
        return BODY | {"messages": [{"role": "user", "content": text}] * times}

    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        for body, status, why in (
            (said(1000, "好"), 200, ""),
            (said(1001, "好"), 400, "at most 1000"),
            (said(1, "好" * 100_001), 400, "at most 100000"),
            (said(4, "好" * 90_000), 400, "at most 300000 are taken: leave the oldest out"),
        ):
            answer = await http.post("/v1/chat/completions", json=body)
            assert answer.status_code == status and why in answer.text
            if status == 400:
                assert answer.json()["error"]["param"].startswith("messages")


async def test_other_sites_may_ask_only_if_they_are_named(tmp_path: Path) -> None:
    asked = {"Origin": "https://chat.example.com", "Access-Control-Request-Method": "POST"}
    wanting = asked | {"Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang"}
    for origins, allowed in (((), None), (["https://chat.example.com"], "https://chat.example.com")):
        async with (
            served(tmp_path, Scripted(), http={"origins": origins}, ask_for_keys=True) as url,
            httpx.AsyncClient(base_url=url) as http,
        ):
            before = await http.options("/v1/chat/completions", headers=wanting)
            assert before.headers.get("access-control-allow-origin") == allowed
            assert (before.status_code == 200) == bool(allowed)
            refused = await http.post("/v1/chat/completions", json=BODY, headers=asked)
            assert refused.status_code == 401
            assert refused.headers.get("access-control-allow-origin") == allowed
            other = await http.get("/", headers={"Origin": "https://evil.example.com"})
            assert "access-control-allow-origin" not in other.headers


async def test_a_bug_has_the_shape_of_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: SessionStore, *given: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(SessionStore, "sessions", broken)
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/api/sessions")
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
        foreign = await http.get("/", headers={"Host": "rebound.example"})
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (400, "invalid_host")
