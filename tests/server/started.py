"""`chatgpt2 serve` as a process of its own, and a model for it."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakes.tiny import LETTERS, tiny_model

from chatgpt2.vocabulary import SPECIAL


def served_ids() -> int:
    """How many ids the model knows."""
    return len(SPECIAL) + len(LETTERS)


def save(directory: Path) -> Path:
    """A model that has learned nothing."""
    return tiny_model(directory.parent, directory.name)


@dataclass
class Started:
    """A process, its address, and what it has said on stderr."""

    process: Process
    url: str = ""
    said: list[str] = field(default_factory=list)

    async def until(self, text: str) -> str:
        """The next line with this text."""
        assert self.process.stderr is not None
        async with asyncio.timeout(120):
            while line := (await self.process.stderr.readline()).decode():
                self.said.append(line)
                if text in line:
                    return line.strip()
        raise AssertionError(f"{text!r} was not said: {self.said}")

    async def ended(self) -> int:
        """Its status, once it has ended."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            self.said.append((await self.process.stderr.read()).decode())
            return await self.process.wait()


@asynccontextmanager
async def started(*options: str) -> AsyncIterator[Started]:
    """Serve with these options until the context is left."""
    command = ["-m", "chatgpt2", "serve", "--port", "0", *options]
    async with serving(
        await asyncio.create_subprocess_exec(sys.executable, *command, stderr=PIPE)
    ) as running:
        yield running


@asynccontextmanager
async def serving(process: asyncio.subprocess.Process) -> AsyncIterator[Started]:
    """A process that has begun to serve; it is killed in the end, if it still runs."""
    running = Started(process)
    try:
        running.url = (await running.until("Serving ")).rpartition(" on ")[2]
        yield running
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()
