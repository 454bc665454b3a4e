"""Two processes take the same steps as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatgpt2.cli import cli

OPTIONS = (
    *("--size", "tiny", "--steps", "6", "--batch-tokens", "256", "--precision", "fp32", "--eval-every", "3"),
    *("--samples", "1", "--threads", "1", "--device", "cpu"),
)


def run(launcher: list[str], arguments: list[str], home: Path) -> None:
    environment = {**os.environ, "CHATGPT2_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [*launcher, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def curve(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["train-dialog"], ["train-text", "--as", "lines"]], ids=["dialog", "text"]
)
def test_two_processes_and_one_have_the_same_loss_curve(
    corpus: Path, vocabulary: Path, tmp_path: Path, command: list[str]
) -> None:
    def arguments(name: str) -> list[str]:
        files = [str(corpus), "--vocabulary", str(vocabulary), "--out", str(tmp_path / name)]
        return [*command, *files, *OPTIONS]

    alone = CliRunner().invoke(cli, arguments("one"))
    assert alone.exit_code == 0, alone
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--local-addr=127.0.0.1"]
    torchrun += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "-m", "chatgpt2"]
    run(torchrun, arguments("two"), tmp_path)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert [r["step"] for r in one] == [r["step"] for r in two]
    for a, b in zip(one, two, strict=True):
        for key in ("loss", "eval_loss"):
            assert a.get(key) == pytest.approx(b.get(key), abs=1e-4)
