"""Programs that others wrote in JavaScript, from tests/foreign: they say what they find as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parents[1] / "foreign"


class Program:
    """One that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def say(self, *what: Any) -> None:
        """A line for its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self._process.stdin.drain()

    async def hear(self) -> Any:
        """Its next line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        assert line, f"it has ended: {await self._complaints()}"
        return json.loads(line)

    async def end(self) -> None:
        """Wait until it ends, as it should."""
        async with asyncio.timeout(60):
            assert await self._process.wait() == 0, await self._complaints()

    async def _complaints(self) -> str:
        assert self._process.stderr is not None
        return (await self._process.stderr.read()).decode()


@asynccontextmanager
async def running(script: str, *arguments: str, env: Mapping[str, str]) -> AsyncIterator[Program]:
    """Run a script of tests/foreign with Node; skips where there is none."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    if not (_FOLDER / "node_modules" / ".package-lock.json").exists():
        pytest.skip("the programs are not installed: npm ci --prefix tests/foreign")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        node, str(_FOLDER / script), *arguments, env=dict(env), stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
