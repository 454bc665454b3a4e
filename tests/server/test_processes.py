"""Two `chatgpt2 serve` on one PostgreSQL, behind a proxy that asks them in turn."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from balancing import balanced
from fakes.completions import FakeCompletions
from fakes.talking import Scripted
from serving import served
from started import Started, save, served_ids, started

from chatgpt2.codec import Codec
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import SamplingParams
from chatgpt2.store import SessionKey, SessionStore

CLIENTS, MESSAGES = 6, 5
ALONE = httpx.Limits(max_keepalive_connections=0)  # each request may reach the other process


@pytest.fixture
async def fake() -> AsyncIterator[FakeCompletions]:
    async with FakeCompletions(served_ids()).running() as fake:
        yield fake


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "小模型")


@pytest.fixture
async def services(fake: FakeCompletions, saved: Path, postgresql: str) -> AsyncIterator[list[Started]]:
    async with AsyncExitStack() as stack:
        options = ["--model", str(saved), "--engine-url", fake.url]
        options += ["--database", postgresql]
        yield [await stack.enter_async_context(started(*options)) for _ in range(2)]


async def say(http: httpx.AsyncClient, session: str, text: str) -> str:
    """The answer; as a good client does, try again with the same id where a service is stopping."""
    while True:
        try:
            body = {"text": text, "message_id": text}
            answer = await http.post(f"/api/sessions/{session}/messages", json=body)
        except httpx.TransportError:
            continue
        if answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            return str(answer.json()["text"])


async def client(http: httpx.AsyncClient, session: str, name: int) -> list[tuple[str, str]]:
    heard = []
    for number in range(MESSAGES):
        for text in (f"{name} {number}", f"all {number}"):
            heard.append((text, await say(http, session, text)))
    return heard


def prompts(saved: Path, texts: list[str]) -> list[list[int]]:
    """What the engine is asked when each message is answered after the one before."""
    codec, params = Codec.load(saved), SamplingParams()
    asked, dialogue = [], Dialogue()
    for said, reply in zip(texts[::2], texts[1::2], strict=True):
        dialogue = dialogue.say("user", said)
        asked.append(codec.prompt(dialogue, codec.window - params.max_new_tokens))
        dialogue = dialogue.say("bot", reply)
    return asked


async def test_one_session_on_two_processes_keeps_its_order_and_loses_nothing(
    services: list[Started], fake: FakeCompletions, saved: Path, postgresql: str
) -> None:
    async with (
        balanced([service.url for service in services]) as url,
        httpx.AsyncClient(base_url=url, timeout=60, limits=ALONE) as http,
    ):
        session = (await http.post("/api/sessions", json={})).json()["id"]
        talking = [asyncio.create_task(client(http, session, name)) for name in range(CLIENTS)]
        await say(http, session, "a word")
        services[0].process.send_signal(signal.SIGTERM)
        heard = [pair for pairs in await asyncio.gather(*talking) for pair in pairs]
        assert await services[0].ended() == 0
    async with await SessionStore.open(postgresql) as store:
        record = await store.record(SessionKey("web", chat=session))
    assert [turn.position for turn in record] == list(range(len(record)))
    assert [turn.role for turn in record] == ["user", "bot"] * (len(record) // 2)
    stored = {said.text: reply.text for said, reply in zip(record[::2], record[1::2], strict=True)}
    assert len(stored) == len(record) // 2 == CLIENTS * MESSAGES + MESSAGES + 1
    assert all(stored[text] == reply for text, reply in heard)
    assert [body["prompt"] for body in fake.bodies] == prompts(saved, [turn.text for turn in record])
    for name in range(CLIENTS):
        own = [turn.text for turn in record[::2] if turn.text.startswith(f"{name} ")]
        assert own == [f"{name} {number}" for number in range(MESSAGES)]


async def test_stop_ends_a_reply_in_whichever_process_it_is_made(tmp_path: Path, postgresql: str) -> None:
    engine = Scripted("说不完的话")
    engine.pause = asyncio.Event()
    async with (
        served(tmp_path, engine, database=postgresql) as making,
        served(tmp_path, Scripted(), database=postgresql) as asked,
        httpx.AsyncClient(timeout=60) as http,
    ):
        session = (await http.post(f"{making}/api/sessions", json={})).json()["id"]
        place, stop = f"/api/sessions/{session}/messages", {"text": "/停止", "commands": True}
        assert (await http.post(asked + place, json=stop)).json()["text"] == "现在没有在说的回答。"
        reply = asyncio.create_task(http.post(making + place, json={"text": "讲个故事"}))
        while not engine.running:
            await asyncio.sleep(0.01)
        assert (await http.post(asked + place, json=stop)).json()["text"] == "好的，不说了。"
        assert (await reply).json()["error"]["code"] == "stopped"
        assert engine.running == 0
        said = (await http.post(asked + place, json={"text": "换一个"})).json()
        assert said["text"] == "答1"
