"""What the README tells people to type against the service works as it is printed; only the port is another."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from started import Started, serving

from chatgpt2.card import Card

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PRINTED = "http://127.0.0.1:8000"
TYPED = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def blocks(title: str, language: str) -> list[str]:
    """The code of this language under a heading."""
    section = re.split(r"^### ", README.partition(f"\n### {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


async def done(folder: Path, *command: str) -> str:
    """What a command writes, which must end well."""
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment(), stdout=PIPE)
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    return said


def environment() -> dict[str, str]:
    home = {"CHATGPT2_HOME": os.environ["CHATGPT2_HOME"], "PYTHONUTF8": "1"}
    return {**TYPED, **home, "CHATGPT2_SERVE_PORT": "0", "CHATGPT2_SERVE_ENGINE": "pytorch"}


@asynccontextmanager
async def typed(folder: Path, command: str) -> AsyncIterator[Started]:
    """A command that serves until somebody ends it."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec {command}", cwd=folder, env=environment(), stderr=PIPE
    )
    async with serving(process) as service:
        yield service


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
async def test_what_is_printed_about_the_service_works(dialogue_model: Path, tmp_path: Path) -> None:
    for name in ("mine", "mine-2"):
        made = Path(shutil.copytree(dialogue_model, tmp_path / "models" / name))
        card = Card.read(made)
        assert card is not None
        replace(card, sampling={"temperature": 0, "max_new_tokens": 20}).write(made)
    commands, keys = blocks("Serve", "sh")
    [python] = blocks("Serve", "python")
    [exchange] = blocks("Run the service", "sh")
    serve, curl = commands.split("\n", 1)
    hang_up, load = exchange.split("\n", 1)

    async with typed(tmp_path, serve) as service:

        async def shell(lines: str) -> str:
            there = lines.replace(PRINTED, service.url).replace("PID", str(service.process.pid))
            return await done(tmp_path, "bash", "-euc", there)

        assert PRINTED in curl and PRINTED in python and PRINTED in load
        there = python.replace(PRINTED, service.url)
        one, other, listed = await asyncio.gather(
            shell(curl), done(tmp_path, sys.executable, "-c", there), shell(keys)
        )
        assert json.loads(one)["model"] == "mine"
        assert json.loads(one)["choices"][0]["message"]["content"] == other.strip() == "你好呀"
        assert "laptop  (good" in listed
        assert "laptop  (revoked" in await shell("chatgpt2 keys list")
        await shell(hang_up)
        assert "Now mine@" in await service.until(" answers.")
        assert json.loads(await shell(load))["model"] == "mine-2"
