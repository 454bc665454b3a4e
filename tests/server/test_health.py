"""What those who look after the service are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fakes.completions import FakeCompletions
from fakes.talking import Letters, Scripted
from serving import served

from chatgpt2.engine.remote import RemoteEngine
from chatgpt2.errors import StoreError
from chatgpt2.store import SessionStore


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with served(tmp_path, Scripted()) as url:
        yield url


def remote(url: str) -> RemoteEngine:
    return RemoteEngine(url, window=Letters.window, vocabulary=len(Letters.vocabulary))


async def test_health_and_the_name_of_the_server(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).json() == {"status": "ok", "model": "小智"}
        foreign = await http.get("/v1/models", headers={"Host": "rebound.example"})
        assert foreign.status_code == 400


async def test_not_ready_without_its_database(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: SessionStore) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(SessionStore, "ping", fail)
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unready", "database": "the disk is gone"})


async def test_not_ready_without_the_server_that_generates(tmp_path: Path) -> None:
    async with FakeCompletions(len(Letters.vocabulary)).running() as fake:
        for there in (fake.url, "http://127.0.0.1:9"):
            engine = remote(there)
            async with served(tmp_path, engine) as url, httpx.AsyncClient(base_url=url) as http:
                answer = await http.get("/readyz")
            assert answer.status_code == (200 if there == fake.url else 503)
            await engine.close()
    assert answer.json()["status"] == "unready"
    assert "127.0.0.1:9/v1 cannot be reached" in answer.json()["engine"]
