from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatgpt2.cli import cli
from chatgpt2.corpus import read_corpus
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import ChatGPT2Error
from chatgpt2.store import Audit, People, SessionKey, SessionStore, opening
from chatgpt2.store.opening import HEAD

HOME, BOT = SessionKey("terminal", chat="default"), SessionKey("telegram", account="bot", chat="7")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHATGPT2_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHATGPT2_DATABASE", f"sqlite:///{tmp_path}/chat.db")
    return tmp_path / "chat.db"


def db(*arguments: str, status: int = 0) -> str:
    done: Result = CliRunner().invoke(cli, ["db", *arguments])
    if isinstance(done.exception, ChatGPT2Error):
        assert status == 2
        return str(done.exception)
    assert done.exit_code == status, done.output
    return done.output


def fill(file: Path) -> None:
    async def work() -> None:
        async with await SessionStore.open(f"sqlite:///{file}") as store:
            await store.append(HOME, "在家", "好")
            await store.append(BOT, "你好", "你好呀", user_id="u1")
            await store.append(BOT, "再见", "拜拜", user_id="u1")

    asyncio.run(work())


def test_current_changes_nothing_and_upgrade_makes_the_tables(file: Path) -> None:
    assert "no tables yet" in db("current")
    assert not file.exists()
    assert db("upgrade") == f"The database is at revision {HEAD}: it is new.\n"
    assert db("current") == f"{HEAD} (the newest)\n"
    assert "it was up to date" in db("upgrade")


def test_an_old_database_is_told_and_upgraded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as then:
        then.setattr(opening, "HEAD", "0001")
        db("upgrade")
    assert db("current") == f"0001 (the newest is {HEAD}: `chatgpt2 db upgrade`)\n"
    assert "it was at 0001" in db("upgrade")


def test_check_tells_what_is_wrong_with_status_1(file: Path) -> None:
    fill(file)
    checked = db("check")
    assert "2 sessions" in checked and "6 turns" in checked
    with sqlite3.connect(file) as other:
        other.execute("DELETE FROM turns WHERE text = '拜拜'")
    other.close()
    assert db("check", status=1) == "Turn 2 of session telegram:7 has no reply.\n"


def test_a_backup_is_not_written_over_another(file: Path, tmp_path: Path) -> None:
    fill(file)
    copy = str(tmp_path / "copy.db")
    assert f"Wrote {copy}" in db("backup", copy)
    assert "--force" in db("backup", copy, status=2)
    assert "Wrote" in db("backup", copy, "--force")
    assert "6 turns" in db("check", "--database", f"sqlite:///{copy}")


def test_an_export_is_a_corpus(file: Path, tmp_path: Path) -> None:
    fill(file)
    out = tmp_path / "said.jsonl"
    assert db("export", str(out)) == f"Wrote 2 dialogues with 6 turns to {out}.\n"
    assert list(read_corpus(out)) == [
        Dialogue.of(["在家", "好"]),
        Dialogue.of(["你好", "你好呀", "再见", "拜拜"]),
    ]
    assert "Wrote 1 dialogues" in db("export", str(out), "--platform", "telegram", "--user", "u1", "--force")
    assert "--force" in db("export", str(out), status=2)
    assert "need --platform" in db("export", str(tmp_path / "b.jsonl"), "--user", "u1", status=2)
    assert "cannot be written" in db("export", str(out / "c.jsonl"), status=2)


def test_who_opted_out_is_not_in_the_export(file: Path, tmp_path: Path) -> None:
    fill(file)

    async def out() -> None:
        async with await SessionStore.open(f"sqlite:///{file}") as store:
            await People(store).opt_out("telegram", "bot", "u1")

    asyncio.run(out())
    assert "Wrote 1 dialogues with 2 turns" in db("export", str(tmp_path / "said.jsonl"))


def test_erasing_asks_tells_and_is_in_the_audit_without_the_name(file: Path) -> None:
    fill(file)
    assert "--platform is needed" in db("erase", status=2)
    person = ("erase", "--platform", "telegram", "--user", "u1")
    assert "telegram:u1" in CliRunner().invoke(cli, ["db", *person], input="n\n").output
    assert "6 turns" in db("check")
    told = db(*person, "--yes")
    assert told.startswith("Erased 4 turns, 1 sessions, 0 opinions, 0 others.\n")
    assert "write-ahead log" in told and "models trained on these words" in told
    assert b"u1" not in file.read_bytes()
    assert "\u4f60\u597d\u5440".encode() not in file.read_bytes()

    async def deeds() -> list[str]:
        async with await SessionStore.open(f"sqlite:///{file}") as store:
            return [deed.action for deed in await Audit(store).recent(9)]

    assert asyncio.run(deeds()) == ["erase"]


def test_pruning_deletes_what_is_old(file: Path) -> None:
    fill(file)
    with sqlite3.connect(file) as other:
        other.execute("UPDATE turns SET created = '2020-01-01 00:00:00' WHERE text IN ('你好', '你好呀')")
    other.close()
    assert db("prune", "--days", "30", "--yes") == "Deleted 2 turns, 0 sessions, 0 opinions, 0 others.\n"
    checked = db("check")
    assert "2 sessions" in checked and "4 turns" in checked
