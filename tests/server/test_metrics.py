"""What Prometheus reads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from fakes.talking import Scripted
from prometheus_client.parser import text_string_to_metric_families
from serving import served

from chatgpt2.errors import EngineBusy

HELLO: Any = {"model": "小智", "messages": [{"role": "user", "content": "你好"}]}


async def read(http: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_requests_and_tokens_are_counted(tmp_path: Path) -> None:
    engine = Scripted("你好呀", "好")
    async with served(tmp_path, engine) as url, httpx.AsyncClient(base_url=url) as http:
        await http.post("/v1/chat/completions", json=HELLO)
        session = (await http.post("/api/sessions", json={})).json()["id"]
        await http.post(f"/api/sessions/{session}/messages", json={"text": "在吗"})
        await http.post("/v1/chat/completions", json={})
        await http.get("/nowhere")
        seen = await read(http)
    assert seen["chatgpt2_requests_total", "POST", "/v1/chat/completions", "200"] == 1
    assert seen["chatgpt2_requests_total", "POST", "/v1/chat/completions", "400"] == 1
    assert seen["chatgpt2_requests_total", "POST", "/api/sessions/{session}/messages", "200"] == 1
    assert seen["chatgpt2_requests_total", "GET", "other", "404"] == 1
    assert seen["chatgpt2_tokens_total", "prompt"] == 4
    assert seen["chatgpt2_tokens_total", "reply"] == 4
    assert seen["chatgpt2_first_token_seconds_count",] == 2
    assert seen["chatgpt2_requests_running",] == seen["chatgpt2_requests_waiting",] == 0
    assert seen["chatgpt2_database_seconds_count", "write"] == 2
    assert seen["chatgpt2_database_seconds_count", "read"] > 0
    assert seen["chatgpt2_database_connections",] == 0
    assert not [name for name in seen if session in str(name)]


async def test_what_the_engine_knew_already_is_counted(tmp_path: Path) -> None:
    class Knowing(Scripted):
        reused_tokens = 5

    async with served(tmp_path, Knowing()) as url, httpx.AsyncClient(base_url=url) as http:
        for expected in (5, 5):
            await http.post("/v1/chat/completions", json=HELLO)
            assert (await read(http))["chatgpt2_reused_tokens_total",] == expected


async def test_of_an_engine_that_does_not_tell_nothing_is_said_of_what_it_knew(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        await http.post("/v1/chat/completions", json=HELLO)
        assert "chatgpt2_reused_tokens" not in (await http.get("/metrics")).text


async def test_what_runs_and_what_was_refused_can_be_seen(tmp_path: Path) -> None:
    class Full(Scripted):
        full = False

        async def generate(self, prompt_ids: Any, params: Any) -> Any:
            if self.full:
                raise EngineBusy("the engine is busy")
            async for step in super().generate(prompt_ids, params):
                yield step

    engine = Full("你好呀")
    engine.pause = asyncio.Event()
    async with served(tmp_path, engine) as url, httpx.AsyncClient(base_url=url) as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=HELLO))
        while not engine.running:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while (await read(http))["chatgpt2_requests_running",] != 1:
                await asyncio.sleep(0.01)
        engine.full = True
        await http.post("/v1/chat/completions", json=HELLO)
        engine.pause.set()
        await asking
        seen = await read(http)
    assert (seen["chatgpt2_busy_total",], seen["chatgpt2_requests_running",]) == (1, 0)
