"""What stands in the log of a service: no secret ever, and what was said only when somebody asked for that."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.completions import FakeCompletions
from started import save, served_ids, started

from chatgpt2.store import ApiKeys, SessionStore

SAID, SECRETS = "你好", ("engine-key", "url-password")


async def trouble(http: httpx.AsyncClient, key: str, fake: FakeCompletions, database: Path) -> list[int]:
    """Good and bad requests, with and without a good key; their statuses."""
    body: Any = {"model": "小模型", "messages": [{"role": "user", "content": SAID}]}
    statuses = []

    async def post(path: str, body: Any, given: str = key) -> Any:
        answered = await http.post(path, json=body, headers={"Authorization": f"Bearer {given}"})
        statuses.append(answered.status_code)
        return answered

    await post("/v1/chat/completions", body, f"{key}-wrong")
    session = (await post("/api/sessions", {})).json()["id"]
    await post(f"/api/sessions/{session}/messages", {"text": SAID, "stream": True})
    await post("/v1/chat/completions", body | {"stream": True})
    fake.faults.append("error")
    failed = await post("/v1/chat/completions", body)
    assert not [secret for secret in SECRETS if secret in failed.text]
    with sqlite3.connect(database) as db:
        db.execute("ALTER TABLE turns RENAME TO gone")
    db.close()
    await post(f"/api/sessions/{session}/messages", {"text": SAID})
    return statuses


@pytest.mark.parametrize("options", [[], ["--log-messages"]], ids=["as usual", "asked for"])
async def test_a_log_holds_no_secret_and_what_was_said_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setenv("CHATGPT2_ENGINE_KEY", SECRETS[0])
    database = tmp_path / "talk.db"
    async with await SessionStore.open(f"sqlite:///{database}") as store:
        key = await ApiKeys(store).create("laptop")
    async with FakeCompletions(served_ids()).running() as fake:
        saved, url = save(tmp_path / "小模型"), fake.url.replace("//", f"//user:{SECRETS[1]}@")
        where = ["--model", str(saved), "--engine-url", url, "--database", f"sqlite:///{database}"]
        async with (
            started(*where, "--ask-for-keys", *options) as service,
            httpx.AsyncClient(base_url=service.url, timeout=60) as http,
        ):
            assert await trouble(http, key, fake, database) == [401, 201, 200, 200, 500, 500]
            service.process.send_signal(signal.SIGTERM)
            assert await service.ended() == 0
    log = "".join(service.said)
    assert not [secret for secret in (key, *SECRETS) if secret in log]
    assert log.count(SAID) == (4 if options else 0)
    assert ('POST "/v1/chat/completions" 401' in log) == bool(options)
