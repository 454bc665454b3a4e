"""The converted model is made once, never served for other weights, and never half written."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from little_language import BANNED
from transformers import GPT2LMHeadModel

from chatgpt2.engine.export import exported
from chatgpt2.errors import EngineError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino_genai") is None, reason="openvino-genai is not installed"
)


def test_the_same_weights_are_converted_once(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    calls: list[int] = []
    first = exported(model, tmp_path, banned_ids=BANNED, preparing=lambda: calls.append(1))
    made = (first / "openvino_model.xml").stat().st_mtime_ns
    assert exported(model, tmp_path, banned_ids=BANNED, preparing=lambda: calls.append(1)) == first
    assert (first / "openvino_model.xml").stat().st_mtime_ns == made
    assert len(calls) == 1


def test_of_earlier_weights_the_last_files_stay_for_they_may_be_served(
    model: GPT2LMHeadModel, tmp_path: Path
) -> None:
    first, exact = exported(model, tmp_path), exported(model, tmp_path, weights="fp32")
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.transformer.h[0].mlp.c_fc.bias += 1e-3
    second = exported(changed, tmp_path)
    assert second != first and first.exists()
    third = exported(changed, tmp_path, banned_ids=[5])
    assert third != second
    assert not first.exists() and second.exists() and exact.exists()


def test_two_at_once_agree(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: exported(model, tmp_path), range(2))
    assert one == two
    assert [path.name for path in tmp_path.iterdir()] == [one.name]


def test_a_killed_conversion_leaves_nothing_that_is_served(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    whole = exported(model, tmp_path)
    (whole / "export.json").unlink()  # what is written last
    (whole / "openvino_model.xml").write_text("half")
    again = exported(model, tmp_path)
    assert again == whole
    assert (again / "openvino_model.xml").read_text() != "half"


def test_a_place_that_cannot_be_written_is_named(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"cannot be written to .*file"):
        exported(model, tmp_path / "file" / "folder")


def test_nothing_is_reported_to_anyone(tmp_path: Path) -> None:
    """OpenVINO's converter and nncf would send telemetry with this library."""
    code = (
        "import sys, little_language as l; from pathlib import Path; import chatgpt2.engine.export as e\n"
        f"e.exported(l.small_model(), Path({str(tmp_path)!r})); import chatgpt2.engine.openvino\n"
        "print(sys.modules['openvino_telemetry'], 'nncf' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "None True\n", done.stderr
