"""How a service ends: in good order, in a hurry, and killed."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.completions import FakeCompletions
from started import save, served_ids, started

from chatgpt2.store import SessionKey, SessionStore

BODY: Any = {"model": "小模型", "messages": [{"role": "user", "content": "你好"}]}


@pytest.fixture
async def fake() -> AsyncIterator[FakeCompletions]:
    async with FakeCompletions(served_ids()).running() as fake:
        yield fake


@pytest.fixture
def options(fake: FakeCompletions, tmp_path: Path) -> list[str]:
    """Those of a service whose replies come when the test says so."""
    saved, database = save(tmp_path / "小模型"), f"sqlite:///{tmp_path}/talk.db"
    return ["--model", str(saved), "--engine-url", fake.url, "--database", database]


async def events(http: httpx.AsyncClient, path: str, body: Any) -> list[Any]:
    """What a stream says to its end."""
    async with http.stream("POST", path, json=body | {"stream": True}) as answer:
        lines = [line.removeprefix("data: ") async for line in answer.aiter_lines() if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def stopping(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while (await http.get("/readyz")).status_code == 200:
            await asyncio.sleep(0.01)


async def asked(fake: FakeCompletions, times: int) -> None:
    async with asyncio.timeout(60):
        while len(fake.bodies) < times:
            await asyncio.sleep(0.01)


async def test_running_replies_end_while_new_ones_are_sent_away(
    options: list[str], fake: FakeCompletions, tmp_path: Path
) -> None:
    fake.go = asyncio.Event()
    async with (
        started(*options, "--grace", "120") as service,
        httpx.AsyncClient(base_url=service.url, timeout=60) as http,
    ):
        session = (await http.post("/api/sessions", json={})).json()["id"]
        whole = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
        stream = asyncio.create_task(events(http, "/v1/chat/completions", BODY))
        kept = asyncio.create_task(http.post(f"/api/sessions/{session}/messages", json={"text": "你好"}))
        await asked(fake, 3)
        service.process.send_signal(signal.SIGTERM)
        await stopping(http)
        assert (await http.get("/readyz")).json() == {"status": "stopping"}
        for refused in (await http.post("/v1/chat/completions", json=BODY), await http.get("/")):
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
            assert int(refused.headers["retry-after"]) > 0 and refused.headers["connection"] == "close"
        assert (await http.get("/healthz")).status_code == 200
        assert not (whole.done() or stream.done() or kept.done())
        fake.go.set()
        assert (await whole).json()["choices"][0]["finish_reason"] == "stop"
        assert (await stream)[-1] == "[DONE]"
        reply = (await kept).json()["text"]
        assert await service.ended() == 0
    log = "".join(service.said)
    assert not [sign for sign in ("Traceback", "ERROR", "你好", reply) if sign in log]
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        turns = (await store.load(SessionKey("web", chat=session))).turns
    assert [turn.text for turn in turns] == ["你好", reply]


@pytest.mark.parametrize(("grace", "signals"), [("0", 1), ("600", 2)])
async def test_what_outlasts_the_grace_is_cut_off_and_not_kept(
    options: list[str], fake: FakeCompletions, tmp_path: Path, grace: str, signals: int
) -> None:
    fake.go = asyncio.Event()
    async with (
        started(*options, "--grace", grace) as service,
        httpx.AsyncClient(base_url=service.url, timeout=60) as http,
    ):
        session = (await http.post("/api/sessions", json={})).json()["id"]
        whole = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
        stream = asyncio.create_task(events(http, f"/api/sessions/{session}/messages", {"text": "你好"}))
        await asked(fake, 2)
        for number in range(signals):
            service.process.send_signal(signal.SIGINT)
            if number == 0 and signals > 1:
                await service.until("Stopping")
        answer, last = await whole, (await stream)[-1]
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
        assert last["error"]["code"] == "stopping"
        assert await service.ended() == 0
    assert "Traceback" not in "".join(service.said)
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        assert not (await store.load(SessionKey("web", chat=session))).turns


async def talk(http: httpx.AsyncClient, session: str, answered: list[tuple[str, str]]) -> None:
    """Say one thing after another and note what was answered, until nobody answers."""
    number = 0
    while True:
        text = f"你好{number}"
        try:
            answer = await http.post(f"/api/sessions/{session}/messages", json={"text": text})
        except httpx.HTTPError:
            return
        assert answer.status_code == 200, answer.text
        answered.append((text, answer.json()["text"]))
        number += 1


async def test_killed_under_load_no_finished_turn_is_lost(options: list[str], tmp_path: Path) -> None:
    answered: dict[str, list[tuple[str, str]]] = {}
    async with (
        started(*options) as service,
        httpx.AsyncClient(
            base_url=service.url, timeout=60, limits=httpx.Limits(max_connections=None)
        ) as http,
    ):
        for _ in range(24):
            answered[(await http.post("/api/sessions", json={})).json()["id"]] = []
        talking = [asyncio.create_task(talk(http, *each)) for each in answered.items()]
        async with asyncio.timeout(120):
            while sum(map(len, answered.values())) < 150:
                await asyncio.sleep(0.01)
        service.process.kill()
        await asyncio.gather(*talking)
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        for session, pairs in answered.items():
            record = await store.record(SessionKey("web", chat=session))
            assert [turn.role for turn in record] == ["user", "bot"] * (len(record) // 2)
            texts = [turn.text for turn in record]
            stored = list(zip(texts[::2], texts[1::2], strict=True))
            assert stored[: len(pairs)] == pairs
            assert len(stored) - len(pairs) <= 1  # one may have been stored and not arrived
    assert all(answered.values())
    async with started(*options) as service, httpx.AsyncClient(base_url=service.url, timeout=60) as http:
        session, pairs = next(iter(answered.items()))
        said = (await http.get(f"/api/sessions/{session}")).json()["said"]
        assert [turn["text"] for turn in said][: 2 * len(pairs)] == [text for pair in pairs for text in pair]
        again = await http.post(f"/api/sessions/{session}/messages", json={"text": "还在吗"})
        assert again.status_code == 200
