"""The OpenAPI document and the service agree: schemathesis sends what the one allows and looks at the other."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest
from fakes.talking import Scripted
from serving import served

EXAMPLES = 12  # of each operation and phase


async def test_schemathesis_finds_no_failure(tmp_path: Path) -> None:
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
    ]
    (tmp_path / "小智").mkdir()
    async with served(tmp_path, Scripted()) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-m", "schemathesis.cli", *command, f"{url}/openapi.json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_every_operation_is_described(tmp_path: Path) -> None:
    async with served(tmp_path, Scripted()) as url, httpx.AsyncClient(base_url=url) as http:
        document = (await http.get("/openapi.json")).json()
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len(operations) >= 17
    assert all(each.get("description") and each.get("tags") for each in operations)
    assert all("422" not in each["responses"] for each in operations)
