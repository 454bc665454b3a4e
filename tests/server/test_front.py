"""What every request goes through, and the short way that most of them take."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.talking import Scripted
from serving import served

from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.server.faults import Fault
from chatgpt2.server.passage import Limits, Passage

CHAT: Any = {"model": "小智", "messages": [{"role": "user", "content": "你好"}]}


class AtOnce(Scripted):
    """Its replies are one step."""

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        ids = [token async for step in super().generate(prompt_ids, params) for token in step.ids]
        yield Step(ids, "stop")


async def session(http: httpx.AsyncClient) -> str:
    return str((await http.post("/api/sessions", json={})).json()["id"])


async def test_a_reply_that_is_finished_at_once_is_one_event(tmp_path: Path) -> None:
    async with served(tmp_path, AtOnce("你好呀")) as url, httpx.AsyncClient(base_url=url) as http:
        path = f"/api/sessions/{await session(http)}/messages"
        answer = await http.post(path, json={"text": "在吗", "stream": True})
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert [json.loads(events[0]), *events[1:]] == [{"text": "你好呀"}, "[DONE]"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_leaves_nothing_that_only_the_collector_finds(tmp_path: Path, stream: bool) -> None:
    def kept() -> int:
        return sum(isinstance(each, Passage) for each in gc.get_objects())

    async with served(tmp_path, AtOnce("你好呀")) as url, httpx.AsyncClient(base_url=url) as http:
        path = f"/api/sessions/{await session(http)}/messages"
        gc.collect()
        gc.disable()
        try:
            before = kept()
            for _ in range(5):
                await http.post(path, json={"text": "在吗", "stream": stream})
                await http.post("/v1/chat/completions", json=CHAT | {"stream": stream})
                await http.get("/api/sessions")
                await http.post(path, json={"text": 5})
            await asyncio.sleep(0.1)  # the last one ends after its client has all of it
            assert kept() == before
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", '{"text": "在吗"}', 200),
        ("application/json; charset=utf-8", '{"text": "在吗"}', 200),
        ("application/vnd.api+json", '{"text": "在吗"}', 200),  # left to FastAPI, as what follows
        ("application/json", '{"text": ', 400),
        ("application/json", '{"text": "在吗", "stream": "yes"}', 400),
        ("text/plain", '{"text": "在吗"}', 400),
    ],
)
async def test_the_long_way_answers_as_the_short_one(
    tmp_path: Path, kind: str, body: str, status: int
) -> None:
    async with served(tmp_path, Scripted("好")) as url, httpx.AsyncClient(base_url=url) as http:
        path = f"/api/sessions/{await session(http)}/messages"
        answer = await http.post(path, content=body.encode(), headers={"Content-Type": kind})
        counted = (await http.get("/metrics")).text
    assert answer.status_code == status, answer.text
    assert answer.json() == {"text": "好"} if status == 200 else answer.json()["error"]["code"]
    labels = f'method="POST",route="/api/sessions/{{session}}/messages",status="{status}"'
    assert f"chatgpt2_requests_total{{{labels}}} 1.0" in counted


async def test_a_bug_on_the_short_way_has_the_shape_of_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Scripted):
        def generate(self, prompt_ids: Any, params: Any) -> Any:
            raise ZeroDivisionError("a bug")

    async with served(tmp_path, Broken()) as url, httpx.AsyncClient(base_url=url) as http:
        for path in (f"/api/sessions/{await session(http)}/messages", "/v1/chat/completions"):
            answer = await http.post(path, json=CHAT | {"text": "在吗"})
            assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
        assert (await http.get("/healthz")).status_code == 200
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


async def test_who_does_not_take_a_refusal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*given: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr("chatgpt2.server.passage._LAST_WORDS", 0.05)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    passage = Passage(scope, nothing, nothing, Limits())
    async with asyncio.timeout(10):
        await passage.refuse(Fault(400, "no"))
