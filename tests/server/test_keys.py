"""Keys: made once, asked for by everything that speaks with the model or shows what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner, Result
from fakes.completions import FakeCompletions
from fakes.talking import Scripted
from openai import AsyncOpenAI
from serving import served
from sqlalchemy import update
from started import save, served_ids, started

from chatgpt2.cli.keys import keys
from chatgpt2.cli.serve import serve
from chatgpt2.errors import ConfigError
from chatgpt2.store import ApiKeys, SessionStore
from chatgpt2.store.tables import api_keys

HELLO: Any = [{"role": "user", "content": "你好"}]


@pytest.fixture
async def known(tmp_path: Path) -> AsyncIterator[ApiKeys]:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        yield ApiKeys(store)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with served(tmp_path, Scripted(), ask_for_keys=True) as url:
        yield url


async def test_nothing_is_said_without_a_good_key(url: str, known: ApiKeys) -> None:
    key = await known.create("laptop")
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        assert (await client.chat.completions.create(model="小智", messages=HELLO)).choices
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=f"{key}x", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="unknown, revoked or expired"):
            await client.chat.completions.create(model="小智", messages=HELLO)
    async with httpx.AsyncClient(base_url=url) as http:
        for method, path in (
            *(("GET", "/v1/models"), ("POST", "/v1/completions"), ("POST", "/v1/chat/completions")),
            *(("GET", "/api/sessions"), ("POST", "/api/sessions"), ("GET", f"/api/sessions/{'0' * 32}")),
        ):
            refused = await http.request(method, path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "missing_api_key")
            assert refused.headers["www-authenticate"] == "Bearer"
        for path in ("/", "/page/chat.js", "/healthz", "/readyz"):
            assert (await http.get(path)).status_code == 200


async def test_a_revoked_or_expired_key_opens_nothing(url: str, known: ApiKeys) -> None:
    revoked, expired = await known.create("old"), await known.create("short", days=1)
    assert await known.find(revoked) and await known.find(expired)
    assert await known.revoke("old")
    assert not await known.revoke("old")
    async with known._store.writing() as db:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await db.execute(update(api_keys).where(api_keys.c.label == "short").values(expires=past))
    async with httpx.AsyncClient(base_url=url) as http:
        for key in (revoked, expired):
            answer = await http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 401


async def test_the_key_is_asked_for_before_anything_is_read(url: str, known: ApiKeys) -> None:
    key = {"Authorization": f"bearer {await known.create('laptop')}"}
    async with httpx.AsyncClient(base_url=url) as http:
        for path in (
            "/v1/chat/completions",
            "/v1/completions",
            "/api/sessions",
            "/api/admin/model",
            "/nowhere",
        ):
            for body in (b"{", b" " * (5 << 20)):
                refused = await http.post(path, content=body)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "missing_api_key")
        basic = await http.get("/v1/models", headers={"Authorization": "Basic a"})
        assert basic.json()["error"]["code"] == "missing_api_key"
        json_is_said = key | {"Content-Type": "application/json"}
        wrong = await http.post("/v1/completions", content=b"{", headers=json_is_said)
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_json")
        document = (await http.get("/openapi.json")).json()
    kinds = {path: each for path, each in document["paths"].items() if path.startswith(("/v1", "/api"))}
    assert all("security" in operation for each in kinds.values() for operation in each.values())


async def test_a_key_allows_so_many_requests(url: str, known: ApiKeys) -> None:
    key = {"Authorization": f"Bearer {await known.create('slow', per_minute=3)}"}
    async with httpx.AsyncClient(base_url=url, headers=key) as http:
        answers = [await http.get("/v1/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 20
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"


async def test_only_a_hash_is_stored(known: ApiKeys, tmp_path: Path) -> None:
    key = await known.create("laptop")
    with pytest.raises(ConfigError, match="already"):
        await known.create("laptop")
    written = b"".join(file.read_bytes() for file in tmp_path.glob("talk.db*"))
    assert b"laptop" in written
    assert key.encode() not in written and key.removeprefix("cg2-").encode() not in written


def run(folder: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(keys, [*arguments, "--database", f"sqlite:///{folder}/talk.db"])
    if isinstance(result.exception, ConfigError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_keys_are_made_listed_and_revoked_on_the_command_line(tmp_path: Path) -> None:
    assert "There are no keys yet" in run(tmp_path, "list").stderr
    key = run(tmp_path, "create", "手机", "--days", "30", "--per-minute", "20").stdout.strip()
    assert key.startswith("cg2-") and len(key) > 40
    listed = run(tmp_path, "list").stdout
    assert "手机  (good until" in listed and "20 a minute" in listed and key not in listed
    run(tmp_path, "revoke", "手机")
    assert "revoked" in run(tmp_path, "list").stdout
    run(tmp_path, "create", "程序", "--per-minute", "0")
    assert "程序  (good, any number a minute)" in run(tmp_path, "list").stdout
    with pytest.raises(ConfigError, match="no good key"):
        run(tmp_path, "revoke", "手机")
    with pytest.raises(ConfigError, match="label"):
        run(tmp_path, "create", " ")


async def test_a_service_that_is_open_to_everyone_asks_nobody_on_any_address(tmp_path: Path) -> None:
    async with FakeCompletions(served_ids()).running() as fake:
        where = ["--model", str(save(tmp_path / "小模型")), "--database", f"sqlite:///{tmp_path}/talk.db"]
        where += ["--engine-url", fake.url, "--host", "0.0.0.0", "--open-to-everyone"]
        async with (
            started(*where) as service,
            httpx.AsyncClient(base_url=service.url.replace("0.0.0.0", "127.0.0.1"), timeout=60) as http,
        ):
            assert (await http.get("/api/sessions")).status_code == 200
            body = {"model": "小模型", "messages": HELLO}
            assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
            for _ in range(2000):  # and yet nobody takes it all
                if (last := (await http.get("/v1/models")).status_code) != 200:
                    break
            assert last == 429


def test_what_it_opens_is_said() -> None:
    told = " ".join(CliRunner().invoke(serve, ["--help"]).output.split())
    assert "they may all use the model, and read and delete every conversation" in told
