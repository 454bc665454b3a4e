"""The adapter of docs/adapters.md: taken from the page, built, installed, and driven."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.pigeon import TOKEN, Pigeon, flying, wait_until
from fakes.tiny import tiny_model

from chatgpt2.adapter import Response
from chatgpt2.adapter.testing import CHECKS
from chatgpt2.gateway import Rules

PAGE = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ADAPTER = next(block for block in BLOCKS if "pigeon_bot.py" in block)
PROJECT = next(block for block in BLOCKS if "entry-points" in block)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package that the page describes, without the network."""
    source, site = tmp_path_factory.mktemp("pigeon"), tmp_path_factory.mktemp("site")
    (source / "pigeon_bot.py").write_text(ADAPTER, encoding="utf-8")
    (source / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    return site


def test_it_is_listed(site: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "chatgpt2", "bots"]
    result = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=120)
    assert re.search(r"^pigeon +pigeon-bot 0\.1$", result.stdout, re.MULTILINE), result


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(
    check: Any, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    asyncio.run(check(Pigeon(), tmp_path))


@pytest.mark.slow
def test_a_process_that_is_killed_loses_nothing(site: Path, tmp_path: Path) -> None:
    """The command itself, over HTTP, killed twice while people talk to it, and then asked to end."""
    pigeon, model = Pigeon(), tiny_model(tmp_path)
    texts = [(f"{number}", number % 3) for number in range(1, 25)]
    for text, chat in texts:
        asyncio.run(pigeon.say(text, int(text), chat=f"{chat}", call=_nothing))
    with flying(pigeon) as url:
        environment = {
            **os.environ,
            **{"PYTHONPATH": str(site), "CHATGPT2_BOT_PIGEON_URL": url, "CHATGPT2_BOT_PIGEON_TOKEN": TOKEN},
        }
        command = [sys.executable, "-m", "chatgpt2", "bot", "run", "pigeon", "--model", str(model)]
        for enough, end in ((4, "kill"), (12, "kill"), (len(texts), "terminate")):
            with subprocess.Popen(command, env=environment) as process:
                wait_until(lambda enough=enough: len(pigeon.keys()) >= enough)  # type: ignore[misc]
                getattr(process, end)()
                assert process.wait(60) == (0 if end == "terminate" else -9)
    for chat in range(3):
        keys = [message["key"] for message in pigeon.messages if message["chat"] == f"{chat}"]
        firsts = list(dict.fromkeys(key.partition(":")[0] for key in keys))
        assert firsts == [text for text, where in texts if where == chat]
    # Of each conversation one piece may have been on its way when the process was killed, and Pigeon cannot tell.
    assert len(pigeon.messages) - len(pigeon.keys()) <= 2 * 3


async def _nothing(*_: object) -> Response:
    return Response()


def test_it_is_about_as_long_as_promised() -> None:
    code = [line for line in ADAPTER.splitlines() if line.strip()]
    assert len(code) <= 60


def test_the_page_tells_every_setting() -> None:
    named = set(
        re.findall(r"`([a-z-]+)`", "\n".join(line for line in PAGE.splitlines() if line.startswith("| `")))
    )
    assert {name.replace("_", "-") for name in Rules.__dataclass_fields__} <= named
