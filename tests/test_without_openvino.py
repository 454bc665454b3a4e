"""Where OpenVINO is not installed PyTorch answers, and the tests of OpenVINO say that they were left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHOSEN = [
    "engine/test_export.py",
    "engine/test_openvino.py",
    "engine/test_pipeline.py",
    "test_loading.py",
    "test_serving.py",
    "test_text_guide.py",
    "cli/test_chat_command.py::test_a_real_model_talks",
]


@pytest.fixture
def bare() -> dict[str, str]:
    """The environment of a machine without OpenVINO, where tests may be skipped."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATGPT2_")}
    return {**kept, "PYTHONPATH": str(HERE / "fakes" / "without_openvino")}


@pytest.mark.slow
def test_what_needs_openvino_is_skipped_and_everything_else_works(bare: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHOSEN]
    result = subprocess.run(command, env=bare, cwd=HERE, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout
    skipped = [line for line in result.stdout.splitlines() if line.startswith("SKIPPED")]
    assert skipped and all(re.search("openvino-genai is not installed", line) for line in skipped), skipped
    assert re.search(r"\d passed", result.stdout), result.stdout


def test_the_command_line_says_what_to_install(bare: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chatgpt2", "chat", "--engine", "openvino", "--model", str(tmp_path)]
    result = subprocess.run(
        [*command, "--once", "你好"],
        env=bare | {"CHATGPT2_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2 and not result.stdout
    assert "pip install openvino-genai" in result.stderr and "Traceback" not in result.stderr
