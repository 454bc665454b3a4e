"""The OpenAPI document and the service agree: schemathesis sends what the one allows and looks at the other."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest
from fakes.talking import Scripted
from serving import served

from chatgpt2.adapter import Adapter, Limits
from chatgpt2.gateway import Bot, Rules
from chatgpt2.store import ApiKeys, SessionStore

EXAMPLES = 12  # of each operation and phase


# Whose message is the last, and which ids a model has, no schema says.
SETTINGS = """
[[operations]]
include-name = "POST /v1/chat/completions"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]

[[operations]]
include-name = "POST /v1/completions"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404, 429, "5xx"]
"""


class Crow(Adapter):
    """A bot that needs nobody."""

    name, account, limits = "crow", "tree", Limits(100)


async def schemathesis(folder: Path, url: str, *options: str) -> tuple[int | None, str]:
    """What it found."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    command = [
        "run",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        "1",
        "--no-color",
        "--generation-database",
        "none",
        *options,
    ]
    (folder / "小智").mkdir()
    (folder / "schemathesis.toml").write_text(SETTINGS)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "schemathesis.cli", *command, f"{url}/openapi.json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_schemathesis_finds_no_failure(tmp_path: Path) -> None:
    bots = lambda store: [Bot("crow", Crow(), Rules())]  # noqa: E731
    async with (
        await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store,
        served(tmp_path, Scripted(), ask_for_keys=True, bots=bots) as url,
    ):
        key = await ApiKeys(store).create("schemathesis")
        status, said = await schemathesis(tmp_path, url, "--header", f"Authorization: Bearer {key}")
    assert status == 0, said


async def test_every_good_answer_has_a_schema(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    schemas = {
        f"{method} {path} {status} {kind}": content.get("schema")
        for path, methods in paths.items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
        for kind, content in answer.get("content", {}).items()
        if status.startswith("2")
    }
    assert len(schemas) >= 20
    assert not [where for where, schema in schemas.items() if not schema]


async def test_every_operation_is_described(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        document = (await http.get("/openapi.json")).json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len(operations) >= 17
    assert all(each.get("description") and each.get("tags") for each in operations)
    assert all("422" not in each["responses"] for each in operations)
