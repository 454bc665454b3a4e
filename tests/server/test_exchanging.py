"""Another model while the service runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.talking import Letters, Scripted
from serving import served
from started import save, started

from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import CheckpointError
from chatgpt2.serving import Serving
from chatgpt2.store import ApiKeys, Audit, SessionStore

BODY: Any = {"model": "小智", "messages": [{"role": "user", "content": "你好"}]}


class Shelf:
    """The models that can be loaded, by their folders."""

    def __init__(self, folder: Path) -> None:
        self.engines: dict[str, Scripted] = {}
        self.asked: list[str | None] = []
        self.go = asyncio.Event()
        self.go.set()
        for name in ("小智", "二号", "坏的"):
            (folder / name).mkdir()

    async def load(self, source: str | None) -> tuple[str, Serving]:
        self.asked.append(source)
        await self.go.wait()
        assert source is not None
        name = Path(source).name
        if name == "坏的":
            raise CheckpointError(f"{source} has no weights")
        engine = self.engines[name] = Scripted()
        return source, Serving(engine, Letters(), SamplingParams(seed=1), name=f"{name}@{len(self.asked)}")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


async def test_running_replies_end_on_the_model_they_began_with(tmp_path: Path, shelf: Shelf) -> None:
    old = Scripted("旧的")
    old.pause = asyncio.Event()
    async with served(tmp_path, old, load=shelf.load) as url, httpx.AsyncClient(base_url=url) as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
        async with asyncio.timeout(10):
            while not old.running:
                await asyncio.sleep(0.01)
        answer = await http.post("/api/admin/model", json={"model": "二号"})
        assert (answer.status_code, answer.json()) == (200, {"model": "二号", "fingerprint": "1"})
        assert (await http.get("/readyz")).json()["model"] == "二号"
        new = await http.post("/v1/chat/completions", json=BODY | {"model": "二号"})
        assert new.json()["choices"][0]["message"]["content"] == "答1"
        assert shelf.asked == [str(tmp_path / "二号")] and not old.closed
        old.pause.set()
        assert (await asking).json()["choices"][0]["message"]["content"] == "旧的"
        async with asyncio.timeout(10):
            while not old.closed:
                await asyncio.sleep(0.01)
        again = await http.post("/api/admin/model", json={})
        assert again.json() == {"model": "二号", "fingerprint": "2"}
        assert "chatgpt2_tokens" in (await http.get("/metrics")).text
    assert shelf.asked[1] == str(tmp_path / "二号")


async def test_what_cannot_be_loaded_changes_nothing(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "file").touch()
    async with (
        served(tmp_path, Scripted("在"), load=shelf.load) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        refused = await http.post("/api/admin/model", json={"model": "坏的"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_refused")
        assert "has no weights" in refused.json()["error"]["message"]
        for names, status in (
            (("nowhere", "file", "~", "好" * 255), 404),
            (("..", ".", ".hidden", "", "../小智", "/etc", "a/b", "a\\b", "C:", 1), 400),
        ):
            for name in names:
                refused = await http.post("/api/admin/model", json={"model": name})
                assert (refused.status_code, refused.json()["error"]["param"]) == (status, "model"), name
        answer = await http.post("/v1/chat/completions", json=BODY)
        assert answer.json()["choices"][0]["message"]["content"] == "在"
    assert len(shelf.asked) == 1


async def test_one_model_is_loaded_at_a_time(tmp_path: Path, shelf: Shelf) -> None:
    shelf.go.clear()
    async with served(tmp_path, Scripted(), load=shelf.load) as url, httpx.AsyncClient(base_url=url) as http:
        first = asyncio.create_task(http.post("/api/admin/model", json={"model": "二号"}))
        async with asyncio.timeout(10):
            while not shelf.asked:
                await asyncio.sleep(0.01)
        second = await http.post("/api/admin/model", json={})
        assert (second.status_code, second.json()["error"]["code"]) == (409, "model_loading")
        shelf.go.set()
        assert (await first).status_code == 200


async def test_strangers_cannot_exchange_it(tmp_path: Path, shelf: Shelf) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        key = {"Authorization": f"Bearer {await ApiKeys(store).create('boss')}"}
    async with (
        served(tmp_path, Scripted(), load=shelf.load, proxies=["127.0.0.1"]) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        for headers, status in (
            ({"X-Forwarded-For": "10.0.0.1"}, 403),
            ({"X-Forwarded-For": "127.0.0.1"}, 403),
            ({"Forwarded": "for=10.0.0.1"}, 403),
        ):
            answer = await http.post("/api/admin/model", json={}, headers=headers)
            assert answer.status_code == status
        # What a page elsewhere can make a browser send without being asked: no JSON, or no body at all.
        form = await http.post("/api/admin/model", content="{}", headers={"Content-Type": "text/plain"})
        assert (form.status_code, (await http.post("/api/admin/model")).status_code) == (400, 400)
    async with (
        served(tmp_path, Scripted(), load=shelf.load, ask_for_keys=True, proxies=["127.0.0.1"]) as url,
        httpx.AsyncClient(base_url=url, headers={"X-Forwarded-For": "10.0.0.1"}) as http,
    ):
        assert (await http.post("/api/admin/model", json={})).status_code == 401
        assert (await http.post("/api/admin/model", json={}, headers=key)).status_code == 200
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        (deed,) = await Audit(store).recent(5)
    assert (deed.actor, deed.action, deed.detail) == ("key boss", "model.exchange", {"model": "小智@1"})
    assert len(shelf.asked) == 1


async def test_a_hang_up_loads_the_model_again(tmp_path: Path) -> None:
    saved = save(tmp_path / "小模型")
    database = f"sqlite:///{tmp_path}/talk.db"
    async with (
        started("--model", str(saved), "--database", database) as service,
        httpx.AsyncClient(base_url=service.url, timeout=60) as http,
    ):
        service.process.send_signal(signal.SIGHUP)
        first = await service.until("answers")
        weights = saved / "model.safetensors"
        kept = weights.read_bytes()
        weights.write_bytes(b"half")
        service.process.send_signal(signal.SIGHUP)
        await service.until("The present model stays")
        body = BODY | {"model": "小模型", "max_tokens": 2}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        weights.write_bytes(kept)
        save(tmp_path / "二号")
        answer = await http.post("/api/admin/model", json={"model": "二号"})
        assert answer.json()["model"] == "二号"
        assert "二号" in await service.until(" answers.")
        body = BODY | {"model": "二号", "max_tokens": 2}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        service.process.send_signal(signal.SIGHUP)
        assert await service.until("answers") == first
        service.process.send_signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert "Traceback" not in "".join(service.said)
    async with await SessionStore.open(database) as store:
        assert [deed.actor for deed in await Audit(store).recent(5)] == ["SIGHUP", "this machine", "SIGHUP"]


@pytest.mark.parametrize("closed", [False, True])
async def test_a_terminal_that_is_closed_ends_the_service(tmp_path: Path, closed: bool) -> None:
    """SIGHUP from a terminal that is there still loads the model again, as elsewhere."""
    pty = pytest.importorskip("pty", reason="pseudo-terminals are not known here")
    ours, theirs = pty.openpty()
    command = ["-m", "chatgpt2", "serve", "--port", "0"]
    command += ["--model", str(save(tmp_path / "小模型")), "--database", f"sqlite:///{tmp_path}/talk.db"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)

    def read_until(text: bytes) -> None:
        seen = b""
        while text not in seen:
            seen += os.read(ours, 1 << 12)

    try:
        await asyncio.to_thread(read_until, b"Serving ")
        if not closed:
            process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(read_until, b" answers.")
        os.close(ours)
        process.send_signal(signal.SIGHUP)  # as the kernel does to who has the terminal
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
