"""Two processes take the same steps as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OPTIONS = (
    *("--size", "tiny", "--steps", "12", "--batch-tokens", "256", "--precision", "fp32", "--eval-every", "4"),
    *("--samples", "1", "--threads", "1", "--device", "cpu"),
)


def run(launcher: list[str], corpus: Path, vocabulary: Path, out: Path, home: Path) -> list[dict[str, float]]:
    command = [
        *launcher,
        "train-dialog",
        str(corpus),
        "--vocabulary",
        str(vocabulary),
        "--out",
        str(out),
        *OPTIONS,
    ]
    environment = {**os.environ, "CHATGPT2_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_and_one_have_the_same_loss_curve(
    corpus: Path, vocabulary: Path, tmp_path: Path
) -> None:
    python = [sys.executable, "-m"]
    one = run([*python, "chatgpt2"], corpus, vocabulary, tmp_path / "one", tmp_path)
    torchrun = [*python, "torch.distributed.run", "--nproc-per-node=2", "--local-addr=127.0.0.1"]
    torchrun += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "-m", "chatgpt2"]
    two = run(torchrun, corpus, vocabulary, tmp_path / "two", tmp_path)
    assert [r["step"] for r in one] == [r["step"] for r in two]
    for a, b in zip(one, two, strict=True):
        for key in ("loss", "eval_loss"):
            assert a.get(key) == pytest.approx(b.get(key), abs=1e-4)
