from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("chatgpt2", "bots", "migrations", "corpus")
FILES = ("pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, built without the network and without touching the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    result = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=source, capture_output=True, text=True, timeout=200
    )
    assert result.returncode == 0, result.stderr
    return out / result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_module_and_data_file_is_in_the_wheel(names: set[str]) -> None:
    homes = {"chatgpt2": "chatgpt2", "bots": "chatgpt2/bots", "migrations": "chatgpt2/migrations"}
    homes["corpus"] = "chatgpt2/corpus/bundled"
    for folder, home in homes.items():
        for path in (ROOT / folder).rglob("*"):
            if (
                path.suffix in (".py", ".txt", ".md", ".mako", ".html", ".css", ".js", ".svg")
                or path.name == "py.typed"
            ):
                assert f"{home}/{path.relative_to(ROOT / folder).as_posix()}" in names


def test_what_users_need_is_in_the_wheel(names: set[str]) -> None:
    assert {"chatgpt2/py.typed", "chatgpt2/data/vocab.txt", "chatgpt2/bots/terminal/screen.py"} <= names
    assert {"chatgpt2/migrations/env.py", "chatgpt2/corpus/bundled/README.md"} <= names
    assert sum(name.startswith("chatgpt2/corpus/bundled/") and name.endswith(".txt") for name in names) >= 20


def test_nothing_but_the_package_lands_in_site_packages(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} == {"chatgpt2", "chatgpt2-0.1.0.dist-info"}


def test_the_wheel_tells_its_command_and_its_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        scripts = archive.read("chatgpt2-0.1.0.dist-info/entry_points.txt").decode()
        about = message_from_bytes(archive.read("chatgpt2-0.1.0.dist-info/METADATA"))
    assert "chatgpt2 = chatgpt2.cli:main" in scripts
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "Apache-2.0"


def test_the_unpacked_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """From a folder of its own, so that the repository is not what is imported."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.meta_path[:] = [f for f in sys.meta_path"
        " if 'editable' not in str(f).lower()]; from chatgpt2.cli import cli; import chatgpt2;"
        "assert chatgpt2.__file__.startswith(sys.argv[1]), chatgpt2.__file__;"
        "cli.main(['init-corpus', sys.argv[2]], standalone_mode=False);"
        "cli.main(['sessions', 'list'], standalone_mode=False)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(site), str(tmp_path / "corpus")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "corpus").glob("*.txt"))) >= 20
    assert "There are no sessions yet" in result.stderr
