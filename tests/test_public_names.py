from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import TALKS

import chatgpt2


@pytest.mark.parametrize("name", sorted(chatgpt2._NAMES))
def test_what_is_handed_out_is_there_and_documented(name: str) -> None:
    assert name in dir(chatgpt2)
    assert getattr(chatgpt2, name).__doc__


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = chatgpt2.nothing  # type: ignore[attr-defined]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, chatgpt2; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_example_of_the_readme_runs(
    dialogue_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from chatgpt2 import evaluate, generate\n.*?)```", readme, re.DOTALL)
    shutil.copytree(dialogue_model, tmp_path / "models" / "mine")
    (tmp_path / "held-out").mkdir()
    talks = "\n\n".join("\n".join(talk) for talk in TALKS)
    (tmp_path / "held-out" / "talks.txt").write_text(talks, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    texts, figure = capsys.readouterr().out.splitlines()
    assert len(re.findall("'[^']*'", texts)) == 3
    assert figure.startswith("Figure(value=")
