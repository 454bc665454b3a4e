from __future__ import annotations

import subprocess
import sys

import pytest

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
