"""A bot beside the server: its webhook, its metrics, its commands. Real processes and real HTTP."""

from __future__ import annotations

import http.server
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
from fakes.pigeon import wait_until
from fakes.tiny import tiny_model

from chatgpt2.bots.webhook import sign

SECRET = "s3cret"


@pytest.fixture
def answers() -> Iterator[tuple[str, Queue[Any]]]:
    """A program that takes the bot's answers: its address, and what it gets."""
    got: Queue[Any] = Queue()

    class Program(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.put((json.loads(body), self.headers["X-Signature"] == sign(body, SECRET)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Program) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", got
        server.shutdown()
        thread.join()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path)


def bots(url: str) -> dict[str, dict[str, Any]]:
    """How each is."""
    states: dict[str, dict[str, Any]] = httpx.get(f"{url}/readyz").json()["bots"]
    return states


def test_a_bot_is_served_with_its_settings_and_its_secret_from_a_file(
    model: Path, tmp_path: Path, answers: tuple[str, Queue[Any]]
) -> None:
    url, got = answers
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    config = tmp_path / "chatgpt2.toml"
    table = f'[bots.mine]\nadapter = "webhook"\ncallback-url = "{url}"\nnotice = "我是 AI。"\n'
    secret = f'secret-file = "{(tmp_path / "secret").as_posix()}"\n'
    other = table.replace("mine", "second").replace("我是 AI。", "我也是。")
    config.write_text(f'{table}{secret}{other}account = "2"\n{secret}', encoding="utf-8")
    command = [sys.executable, "-m", "chatgpt2", "--config", str(config), "serve", "--model", str(model)]
    command += ["--port", "0", "--bot", "mine", "--bot", "second"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stderr is not None
        lines = [process.stderr.readline(), process.stderr.readline()]
        found = re.search(r"on (http://127\.0\.0\.1:\d+)$", lines[1].strip())
        assert found, [*lines, process.stderr.read()]
        body = json.dumps({"id": 1, "chat": "c", "user": "u", "text": "你好"}).encode()
        where = f"{found[1]}/bots/mine/messages"
        for new in (True, False):
            answer = httpx.post(where, content=body, headers={"X-Signature": sign(body, SECRET)}, timeout=60)
            assert answer.json() == {"new": new}
        assert httpx.post(where, content=body).status_code == 403
        assert httpx.get(f"{found[1]}/bots/yours/messages").status_code == 404
        said, signed = got.get(timeout=60)
        assert signed and said["text"].startswith("我是 AI。\n") and said["id"] == "1:0"
        there = where.replace("mine", "second")
        answer = httpx.post(there, content=body, headers={"X-Signature": sign(body, SECRET)}, timeout=60)
        assert answer.json() == {"new": True}, "each bot has an account of its own"
        said, signed = got.get(timeout=60)
        assert signed and said["text"].startswith("我也是。\n")
        wait_until(lambda: {state["stage"] for state in bots(found[1]).values()} == {"serving"})
        assert bots(found[1]).keys() == {"mine", "second"} and bots(found[1])["second"]["last_error"] is None
        state = bots(found[1])["mine"]
        assert (state["stage"], state["healthy"]) == ("serving", True) and state["silent_for"] >= 0
        assert state["last_error"].startswith("a message was refused: X-Signature")
        metrics = httpx.get(f"{found[1]}/metrics").text
        assert 'chatgpt2_bot_up{bot="mine",platform="webhook"} 1.0' in metrics
        assert 'chatgpt2_bot_error{bot="mine",platform="webhook"} 1.0' in metrics
        assert 'chatgpt2_bot_letters_total{what="seen"} 1.0' in metrics
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) in (0, 130)
    assert "Traceback" not in rest and SECRET not in rest and got.empty()


def test_a_webhook_is_not_run_without_a_server(model: Path, answers: tuple[str, Queue[Any]]) -> None:
    command = [
        sys.executable,
        "-m",
        "chatgpt2",
        "bot",
        "run",
        "webhook",
        "--model",
        str(model),
    ]
    bare = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert bare.returncode == 2 and "[bots.webhook]: the setting callback_url is missing" in bare.stderr
    given = {"CHATGPT2_BOT_WEBHOOK_CALLBACK_URL": answers[0], "CHATGPT2_BOT_WEBHOOK_SECRET": SECRET}
    with pytest.MonkeyPatch.context() as environment:
        for key, value in given.items():
            environment.setenv(key, value)
        run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert run.returncode == 2 and "use `chatgpt2 serve --bot webhook`" in run.stderr, run.stderr
