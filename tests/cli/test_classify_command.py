"""`chatgpt2 train-classifier` and `chatgpt2 classify`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chatgpt2.checkpoint import load_any
from chatgpt2.cli import cli
from chatgpt2.errors import CheckpointError, ConfigError, CorpusError

ROWS = [("好", "今天天气真好"), ("坏", "你吃饭了吗"), ("好", "天气好是啊"), ("坏", "吃了红烧肉")] * 10
LENGTH = ["--steps", "30", "--lr", "1e-2", "--device", "cpu", "--threads", "1", "--samples", "0"]


def run(*arguments: str, **more: Any) -> str:
    done = CliRunner().invoke(cli, list(arguments), catch_exceptions=True, **more)
    if done.exception:
        raise done.exception
    return done.output


@pytest.fixture(scope="module")
def judge(dialogue_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    table = folder / "marks.csv"
    table.write_text("mark,says\n" + "".join(f"{mark},{text}\n" for mark, text in ROWS), encoding="utf-8")
    options = [
        "--label",
        "mark",
        "--field",
        "2",
        "--base",
        str(dialogue_model),
        "--validation",
        str(table),
        *LENGTH,
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATGPT2_HOME", str(folder / "home"))
        said = run("train-classifier", str(table), "--out", str(folder / "out"), *options)
    assert "training on: 40 texts" in said and "坏 × 20, 好 × 20" in said
    assert "held out: accuracy 100.00%, F1 1.0000" in said
    assert "texts of each class (down)" in said
    assert f"chatgpt2 classify {folder / 'out'}" in said
    return folder / "out"


def test_texts_are_judged_in_lines_or_as_json(judge: Path, tmp_path: Path) -> None:
    lines = run("classify", str(judge), "今天天气真好", "吃了红烧肉").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["好", "坏"]
    assert [line.split("\t")[2] for line in lines] == ["今天天气真好", "吃了红烧肉"]
    file = tmp_path / "texts.txt"
    file.write_text("今天天气真好\n\n吃了红烧肉\n", encoding="utf-8")
    rows = [
        json.loads(line) for line in run("classify", str(judge), "--file", str(file), "--json").splitlines()
    ]
    assert [row["label"] for row in rows] == ["好", "坏"]
    assert sum(rows[0]["scores"].values()) == pytest.approx(1)
    assert rows[0]["score"] == rows[0]["scores"]["好"]


def test_columns_and_pipes_are_read_and_order_is_kept(judge: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    texts = [f"{'今天天气真好' * (n % 7 + 1)}{n}" for n in range(600)]  # more than are judged at once
    file.write_text("n,says\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts)), encoding="utf-8")
    lines = run("classify", str(judge), "--file", str(file), "--field", "says").splitlines()
    assert [line.split("\t")[2] for line in lines] == texts
    assert run("classify", str(judge), "--file", "-", input="今天天气真好\n").startswith("好\t")


def test_what_cannot_be_judged_is_told_in_one_line(judge: Path, dialogue_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a text"):
        run("classify", str(judge))
    with pytest.raises(ConfigError, match="text 2 is empty"):
        run("classify", str(judge), "好", " ")
    with pytest.raises(ConfigError, match="--field chooses a column of --file"):
        run("classify", str(judge), "好", "--field", "x")
    with pytest.raises(CheckpointError, match="cannot judge, only write"):
        run("classify", str(dialogue_model), "好")
    with pytest.raises(CorpusError, match="no such file"):
        run("classify", str(judge), "--file", str(tmp_path / "none.txt"))
    with pytest.raises(ConfigError, match="name labelled texts"):
        run("train-classifier", "--base", "x")
    for command in (["generate", str(judge), "好"], ["chat", "--model", str(judge), "--once", "好"]):
        with pytest.raises(CheckpointError, match="judges texts and writes none"):
            run(*command)


def test_a_run_goes_on_by_its_own_command(judge: Path) -> None:
    with pytest.raises(ConfigError, match="one of `chatgpt2 train-classifier`: use that"):
        run("train-text", "--resume", "--out", str(judge))
    assert "trained 30 steps" in run("train-classifier", "--resume", "--out", str(judge))


def test_a_fresh_head_that_writes_is_a_text_model(dialogue_model: Path, tmp_path: Path) -> None:
    text = tmp_path / "lines.txt"
    text.write_text("".join(f"{text}\n" for _, text in ROWS), encoding="utf-8")
    options = [
        "--head",
        "lm",
        "--freeze-backbone",
        "--base",
        str(dialogue_model),
        "--out",
        str(tmp_path / "out"),
    ]
    said = run("train-classifier", str(text), *options, *LENGTH)
    assert f"chatgpt2 generate {tmp_path / 'out'}" in said
    assert load_any(tmp_path / "out").card.objective == "text"
