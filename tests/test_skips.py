"""CHATGPT2_REQUIRE_ALL=1, as CI sets it, lets no test be skipped in silence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os, pytest

def test_fine(): pass

@pytest.mark.skipif(True, reason="needs a moon")
def test_moon(): pass

def test_data(): pytest.skip("CHATGPT2_DATA is not set")

@pytest.mark.xfail(reason="known", strict=True)
def test_known(): assert False

def test_home(): assert "CHATGPT2_CHAT_SEED" not in os.environ
"""


def outcome(folder: Path, **environment: str) -> str:
    """The last line of pytest in a folder with our conftest.py and the tests above."""
    here = Path(__file__).parent
    shutil.copy(here / "conftest.py", folder / "conftest.py")
    (folder / "fakes").mkdir()
    shutil.copy(here / "fakes" / "databases.py", folder / "fakes" / "databases.py")
    (folder / "test_some.py").write_text(TESTS, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHATGPT2_")}
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(folder),
            str(folder),
        ],
        env={**clean, "CHATGPT2_CHAT_SEED": "1", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "counts"),
    [
        ({}, "2 passed, 2 skipped, 1 xfailed"),
        ({"CHATGPT2_REQUIRE_ALL": "1"}, "2 passed, 1 skipped, 1 xfailed, 1 error"),
        ({"CHATGPT2_REQUIRE_ALL": "1", "CHATGPT2_DATA": "."}, "1 failed, 2 passed, 1 xfailed, 1 error"),
    ],
)
def test_a_skip_fails_where_everything_is_required(
    environment: dict[str, str], counts: str, tmp_path: Path
) -> None:
    assert outcome(tmp_path, **environment).startswith(counts)
