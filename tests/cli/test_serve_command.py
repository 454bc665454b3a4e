"""`chatgpt2 serve` as a user starts and stops it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from fakes.tiny import tiny_model
from sqlalchemy import update

from chatgpt2.chat import DECLINED
from chatgpt2.cli.serve import serve
from chatgpt2.errors import ConfigError
from chatgpt2.store import SessionKey, SessionStore, StoredTurn
from chatgpt2.store.tables import turns


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tiny_model(tmp_path)


def test_a_model_is_served_until_ctrl_c(saved: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "chatgpt2",
        "serve",
        "--model",
        str(saved),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stderr is not None
        lines = [process.stderr.readline(), process.stderr.readline()]
        found = re.search(r"on (http://127\.0\.0\.1:\d+)$", lines[1].strip())
        assert found, lines
        body = {
            "model": "小模型",
            "messages": [{"role": "user", "content": "你好"}],
            "max_tokens": 4,
            "seed": 1,
        }
        answer = httpx.post(f"{found[1]}/v1/chat/completions", json=body, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] <= 4, answer.text
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(20) in (0, 130)
    assert "Traceback" not in rest


def test_strangers_need_a_key(saved: Path) -> None:
    command = [sys.executable, "-m", "chatgpt2", "serve", "--model", str(saved), "--port", "0"]
    command += ["--host", "0.0.0.0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(3)]
        assert "Nobody has a key yet" in lines[1]
        port = lines[2].rpartition(":")[2].strip()
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 401
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        process.wait(20)
    result = CliRunner().invoke(serve, ["--model", str(saved), "--ask-for-keys", "--open-to-everyone"])
    assert isinstance(result.exception, ConfigError)


def test_a_port_that_is_taken_is_named(saved: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(serve, ["--model", str(saved), "--port", port])
    assert isinstance(result.exception, ConfigError)
    assert f"port {port}" in str(result.exception)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--trusted-proxy", "nginx"),
        ("--trusted-proxy", "*"),
        ("--trusted-proxy", "10.0.0.1/8"),
        ("--allow-origin", "*"),
        ("--allow-origin", "chat.example.com"),
        ("--allow-origin", "https://chat.example.com/"),
    ],
)
def test_what_would_be_trusted_in_vain_is_refused(saved: Path, option: str, value: str) -> None:
    good = ["--trusted-proxy", "10.0.0.0/8", "--allow-origin", "http://[::1]:8000"]
    result = CliRunner().invoke(serve, ["--model", str(saved), *good, option, value])
    assert isinstance(result.exception, ConfigError)
    assert f"{option} {value}:" in str(result.exception)


def test_blocked_words_are_declined_and_old_words_forgotten(saved: Path, tmp_path: Path) -> None:
    words, database = tmp_path / "words.txt", f"sqlite:///{tmp_path}/chat.db"
    words.write_text("坏话\n", encoding="utf-8")
    old, key = datetime(2020, 1, 1, tzinfo=UTC), SessionKey("web", chat="0" * 32)

    async def fill() -> None:
        async with await SessionStore.open(database) as store:
            await store.append(key, "很久以前", "嗯")
            async with store.writing() as db:
                await db.execute(update(turns).values(created=old))

    asyncio.run(fill())
    command = [
        sys.executable,
        "-m",
        "chatgpt2",
        "serve",
        "--model",
        str(saved),
        "--port",
        "0",
        "--keep-days",
        "30",
    ]
    command += ["--blocked-words", str(words), "--database", database]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stderr is not None
        port = [process.stderr.readline() for _ in range(2)][1].rpartition(":")[2].strip()
        api = f"http://127.0.0.1:{port}/api/sessions"
        session = httpx.post(api, json={}).json()["id"]
        answer = httpx.post(f"{api}/{session}/messages", json={"text": "说句坏 话"}).json()
        assert answer == {"text": DECLINED}
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        process.wait(20)

    async def left() -> list[StoredTurn]:
        async with await SessionStore.open(database) as store:
            return await store.record(key)

    assert asyncio.run(left()) == []


def test_a_list_of_words_that_is_not_there_is_named(saved: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(serve, ["--model", str(saved), "--blocked-words", str(tmp_path / "no.txt")])
    assert isinstance(result.exception, ConfigError)
    assert "no.txt" in str(result.exception)
