from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chatgpt2.card import Card
from chatgpt2.checkpoint import create_model, save_checkpoint
from chatgpt2.cli import checks
from chatgpt2.cli.checks import Finding
from chatgpt2.cli.doctor import doctor
from chatgpt2.cli.home import data_folder, default_database_url, note_latest
from chatgpt2.codec import Codec
from chatgpt2.store import SessionKey, SessionStore
from chatgpt2.store.opening import HEAD
from chatgpt2.vocabulary import SPECIAL, vocabulary_hash

ENTRIES = [*SPECIAL, *"你好"]


def found(check: Iterator[Finding]) -> Finding:
    """The one finding of a check."""
    (finding,) = check
    return finding


def report(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(doctor, ["--json", *arguments])
    return result.exit_code, json.loads(result.stdout)


def keep_a_model(folder: Path) -> None:
    codec = Codec(ENTRIES, window=16)
    card = Card(
        vocabulary_hash=vocabulary_hash(ENTRIES),
        window=16,
        metrics={"loss": 2.5, "perplexity_per_character": 12.2},
    )
    save_checkpoint(folder, create_model("tiny", codec), codec, card)
    note_latest(folder)


def test_all_is_well_on_a_fresh_machine() -> None:
    status, all_of_it = report()
    assert (status, all_of_it["ok"]) == (0, True), all_of_it
    values = {each["name"]: each["value"] for each in all_of_it["findings"]}
    assert {
        "python",
        "chatgpt2",
        "torch",
        "transformers",
        "peft",
        "sqlalchemy",
        "tokenizers",
    } <= values.keys()
    assert values["engine pytorch"].startswith("works on cpu (3 tokens")
    if importlib.util.find_spec("openvino_genai"):
        assert values["engine openvino"].startswith("works, prepared in")
    assert values["latest model"] == "none"
    assert "not there yet" in values["database"]
    assert not (data_folder() / "chatgpt2.db").exists()
    assert "threads" in values
    assert "free" in values["memory"]


def test_what_is_wrong_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        raise RuntimeError("libgomp is missing\nand more")

    good = Finding("python", "3.11")
    monkeypatch.setattr(checks, "examine", lambda config: iter([good, *checks._guarded("torch", broken)]))
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith(" ok  python")
    assert lines[1].startswith("FIX  torch")
    assert "RuntimeError: libgomp is missing" in lines[1]
    assert "→ install chatgpt2 again" in lines[2]
    assert lines[3] == "One thing needs fixing: torch."


def test_a_library_that_is_missing_or_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"transformers": "4.57.1", "torch": "2.13.0+cpu"}.get(name, "9999")

    monkeypatch.setattr(importlib.metadata, "version", version)
    wrong = {each.name: each for each in checks.versions() if each.fix}
    assert wrong.keys() == {"peft", "transformers"}
    assert wrong["peft"].value == "not installed"
    assert wrong["transformers"].fix is not None
    assert wrong["transformers"].fix.startswith("pip install 'transformers>=5")


def test_the_latest_model_is_loaded_and_its_figures_shown(tmp_path: Path) -> None:
    keep_a_model(tmp_path / "m")
    finding = found(checks.model())
    assert finding.fix is None
    assert str(tmp_path / "m") in finding.value
    assert "M parameters; loss 2.5, perplexity per character 12.2" in finding.value


def test_a_latest_model_that_is_gone_or_damaged_needs_fixing(tmp_path: Path) -> None:
    keep_a_model(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    fix = found(checks._guarded("latest model", checks.model)).fix
    assert fix is not None
    assert "no weights" in fix
    note_latest(tmp_path / "gone")
    finding = found(checks.model())
    assert finding.value.endswith("is gone")
    assert finding.fix is not None


def test_sessions_and_turns_are_counted() -> None:
    async def talk() -> None:
        async with await SessionStore.open(default_database_url()) as store:
            for name in ("一", "二"):
                await store.append(SessionKey("terminal", chat=name), "你好", "你好！")

    asyncio.run(talk())
    finding = found(checks.database())
    assert finding.value.endswith(f"revision {HEAD}, 2 sessions with 4 turns")
    assert finding.fix is None


@pytest.mark.parametrize(
    ("revision", "said"),
    [("9999", "newer chatgpt2"), ("0000", "has revision 0000: the next chat brings it to")],
)
def test_a_database_of_another_version_is_told_and_left_alone(revision: str, said: str) -> None:
    path = data_folder() / "chatgpt2.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.commit()
    before = path.read_bytes()
    finding = found(checks._guarded("database", checks.database))
    assert said in f"{finding.value} {finding.fix}"
    assert (finding.fix is None) == (revision == "0000")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_needs_fixing() -> None:
    (data_folder() / "chatgpt2.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    fix = found(checks._guarded("database", checks.database)).fix
    assert fix is not None
    assert "is not a session database" in fix


def test_a_data_folder_that_cannot_be_made_needs_fixing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CHATGPT2_HOME", str(tmp_path / "file" / "home"))
    fix = found(checks._guarded("data folder", checks.folder)).fix
    assert fix is not None
    assert "CHATGPT2_HOME" in fix


def test_a_full_disk_and_little_memory_need_fixing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LITTLE_DISK", 1 << 80)
    monkeypatch.setattr(checks, "LITTLE_MEMORY", 1 << 80)
    assert "nearly full" in str(found(checks.folder()).fix)
    assert "--size tiny" in str(checks._memory().fix)


def test_the_config_file_is_named(tmp_path: Path) -> None:
    assert found(checks.config(None)).value.startswith("none")
    assert found(checks.config(tmp_path / "my.toml")).value == str(tmp_path / "my.toml")
    (data_folder() / "chatgpt2.toml").write_text("", encoding="utf-8")
    assert found(checks.config(None)).value == str(data_folder() / "chatgpt2.toml")


def test_a_terminal_that_cannot_show_chinese_needs_fixing() -> None:
    code = "from chatgpt2.cli.checks import console; print(next(console()).fix)"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "PYTHONUTF8=1" in result.stdout
