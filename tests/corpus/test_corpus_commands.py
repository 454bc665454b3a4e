from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatgpt2.cli.corpus import corpus, init_corpus
from chatgpt2.corpus import bundled_corpus, read_corpus
from chatgpt2.errors import CheckpointError, ConfigError, CorpusError

GOOD = '["你好", "你好呀"]\n'


def _check(*arguments: object) -> Result:
    return CliRunner().invoke(corpus, ["check", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_text(GOOD * 3 + '["囧囧", "在"]\n', encoding="utf-8")
    (tmp_path / "README.md").write_text("# 说明\n", encoding="utf-8")
    return tmp_path


def test_check_prints_figures(folder: Path) -> None:
    result = _check(folder)
    assert result.exit_code == 0
    for expected in ("a.jsonl", "jsonl", "utf-8", "README.md", "At a length of 512 tokens"):
        assert expected in result.output
    assert "\x1b" not in result.output


def test_check_gives_json(folder: Path) -> None:
    result = _check(folder, "--json", "--length", 8)
    found = json.loads(result.stdout)
    (file,) = found["files"]
    assert (file["format"], file["encoding"], file["dialogues"], file["duplicates"]) == (
        "jsonl",
        "utf-8",
        4,
        2,
    )
    assert (file["percentiles"]["p50"], file["longest"], file["split"]) == (8, 8, 0)
    assert found["total"]["turns"] == 8
    assert found["passed_over"] == [
        {"path": str(folder / "README.md"), "why": "it is about the corpus, not part of it"}
    ]


def test_check_reports_bad_records_and_exits_with_1(folder: Path) -> None:
    (folder / "b.jsonl").write_text(GOOD + "{}\n" + GOOD, encoding="utf-8")
    result = _check(folder)
    assert result.exit_code == 1
    assert "b.jsonl, line 2: expected a list of texts" in result.output.replace("\n", "")
    assert _check(folder, "--skip-bad").exit_code == 0
    assert json.loads(_check(folder, "--json").stdout)["files"][1]["bad_records"][0]["line"] == 2


def test_check_says_that_there_is_nothing(tmp_path: Path) -> None:
    result = _check(tmp_path)
    assert result.exit_code == 1
    assert "No dialogue was found" in result.output


def test_check_with_a_vocabulary(folder: Path) -> None:
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"你好呀在"]
    (folder / "vocab.list").write_text("\n".join(entries) + "\n", encoding="utf-8")
    found = json.loads(_check(folder / "a.jsonl", "--vocabulary", folder / "vocab.list", "--json").stdout)
    assert found["total"]["outside_top"] == {"囧": 2}


def test_check_refuses_what_cannot_be(folder: Path) -> None:
    assert isinstance(_check(folder / "nothing").exception, CorpusError)
    assert isinstance(_check(folder, "--vocabulary", folder / "a.jsonl").exception, CheckpointError)
    assert isinstance(_check(folder, "--length", 2).exception, ConfigError)
    assert _check(folder, "--format", "yaml").exit_code == 2


def test_init_corpus_writes_the_dialogues(tmp_path: Path) -> None:
    target = tmp_path / "my corpus"
    result = CliRunner().invoke(init_corpus, [str(target)])
    assert result.exit_code == 0
    assert f"chatgpt2 train-dialog '{target}'" in result.output
    assert (target / "README.md").exists()
    assert list(read_corpus(target)) == list(read_corpus(bundled_corpus()))


def test_init_corpus_overwrites_only_when_told(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(init_corpus, [str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert CliRunner().invoke(init_corpus, [str(tmp_path), "--force"]).exit_code == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") != "mine"


def test_init_corpus_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert isinstance(CliRunner().invoke(init_corpus, [str(tmp_path / "file" / "x")]).exception, ConfigError)
