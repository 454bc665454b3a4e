"""An interrupted run that goes on ends with the same weights as one that was never interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from chatgpt2.cli import cli
from chatgpt2.errors import ConfigError

OPTIONS = (
    *("--size", "tiny", "--steps", "24", "--batch-tokens", "128", "--dropout", "0.1", "--save-every", "4"),
    *("--eval-every", "6", "--samples", "1", "--threads", "1", "--device", "cpu"),
)


def train(*arguments: str) -> str:
    """In this process: another one takes seconds to begin."""
    done = CliRunner().invoke(cli, ["train-dialog", *arguments])
    assert done.exit_code == 0, done
    return done.output


def start(corpus: Path, vocabulary: Path, out: Path, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "chatgpt2", "train-dialog", str(corpus), "--out", str(out)]
    environment = {**os.environ, "CHATGPT2_HOME": str(home), "COLUMNS": "200"}
    return subprocess.Popen(
        [*command, *OPTIONS, "--vocabulary", str(vocabulary)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    metrics = out / "metrics.jsonl"
    for _ in range(3000):
        if metrics.exists() and metrics.read_text().count('"loss"') >= step:
            return
        if process.poll() is not None:
            pytest.fail(f"the run ended before step {step}: {process.communicate()[0]}")
        time.sleep(0.02)
    pytest.fail(f"step {step} never came")


def losses(out: Path) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(r["step"], r["loss"]) for r in records if "loss" in r]


def assert_same(out: Path, whole: Path) -> None:
    one, two = (load_file(folder / "model.safetensors") for folder in (out, whole))
    assert one.keys() == two.keys()
    assert all((one[key] == two[key]).all() for key in one)
    assert losses(out) == losses(whole)


@pytest.fixture(scope="module")
def whole(corpus: Path, vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(str(corpus), "--out", str(folder / "out"), *OPTIONS, "--vocabulary", str(vocabulary))
    return folder / "out"


@pytest.mark.slow
def test_killed_and_resumed(corpus: Path, vocabulary: Path, tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    process = start(corpus, vocabulary, out, tmp_path)
    wait_for_step(process, out, 10)
    process.kill()
    process.communicate()
    assert not (out / "model.safetensors").exists()
    assert "going on after step" in train("--resume", "--out", str(out))
    assert_same(out, whole)


@pytest.mark.slow
def test_interrupted_and_resumed(corpus: Path, vocabulary: Path, tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "out"
    process = start(corpus, vocabulary, out, tmp_path)
    wait_for_step(process, out, 7)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 130, output
    assert f"chatgpt2 train-dialog --resume --out {out}" in output
    assert "Traceback" not in output
    assert (out / "model.safetensors").exists()  # what it has learned so far can be talked to
    train("--resume", "--out", str(out))
    assert_same(out, whole)


def test_resuming_nothing_or_something_else_says_so(corpus: Path, whole: Path, tmp_path: Path) -> None:
    def fails(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["train-dialog", *arguments])
        assert isinstance(done.exception, ConfigError)
        return str(done.exception)

    assert "holds no run" in fails("--resume", "--out", str(tmp_path / "nothing"))
    assert "--resume needs --out" in fails("--resume")
    assert "not with other.txt: leave that out" in fails("other.txt", "--resume", "--out", str(whole))
    assert "--seed cannot change" in fails("--resume", "--out", str(whole), "--seed", "9")
    assert "holds another run" in fails(str(corpus), "--out", str(whole))


def test_resuming_a_finished_run_changes_nothing_however_its_files_are_spelled(
    corpus: Path, vocabulary: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (whole / "model.safetensors").read_bytes()
    monkeypatch.chdir(corpus.parent)
    words = os.path.relpath(vocabulary)
    train(corpus.name, "--resume", "--out", os.path.relpath(whole), "--vocabulary", words, "--seed", "0")
    assert (whole / "model.safetensors").read_bytes() == before
