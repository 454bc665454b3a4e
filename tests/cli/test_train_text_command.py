"""`chatgpt2 train-text`, as it is typed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatgpt2.card import Card
from chatgpt2.checkpoint import SIZES, load_text
from chatgpt2.cli import cli
from chatgpt2.errors import ChatGPT2Error, ConfigError, CorpusError

WORDS = "天地玄黄宇宙洪荒日月盈昃辰宿列张"
LENGTH = ("--size", "tiny", "--steps", "3", "--device", "cpu", "--threads", "1", "--samples", "1")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["train-text", *arguments])
    if isinstance(done.exception, ChatGPT2Error):
        raise done.exception
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With texts in a table and in files, and `summaries`, a model of the table's."""
    folder = tmp_path_factory.mktemp("folder")
    rng = random.Random(1)
    texts = ["".join(rng.choices(WORDS, k=12)) for _ in range(40)]
    rows = [f"{n},\u200b{text[:6]}   {text[6:]}" for n, text in enumerate(texts)]
    (folder / "table.csv").write_text("\n".join(["n,says", *rows]) + "\n", encoding="utf-8")
    for name, part in (("novel", texts[:30]), ("more", texts[30:35]), ("held", texts[35:])):
        (folder / f"{name}.txt").write_text("\n".join(part) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATGPT2_HOME", str(folder / "home"))
        patch.setitem(SIZES, "tiny", (1, 64))
        patch.chdir(folder)
        shape = (
            "--as",
            "records",
            "--field",
            "says",
            "--split",
            "70-20-10",
            "--clean",
            "--tokenizer",
            "char",
        )
        around = ("--bos", "<BOS>", "--eos", "<EOS>")
        said = run("table.csv", *shape, *around, *LENGTH, "--out", "summaries")
    (folder / "said").write_text(said, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setitem(SIZES, "tiny", (1, 64))


def test_a_column_of_a_table_is_shared_out_and_learned_between_tokens(folder: Path) -> None:
    said = (folder / "said").read_text(encoding="utf-8")
    for part, count in (("training on", 28), ("held out", 8), ("kept for the test at the end", 4)):
        assert f"• {part}: " in said
        assert f", {count} texts" in said
    assert "held-out loss " in said
    assert said.splitlines()[-1] == "next: chatgpt2 generate summaries"
    trained = load_text(folder / "summaries")
    card = Card.read(folder / "summaries")
    assert card is not None and (card.objective, card.learn) == ("text", "records")
    assert {"loss", "test_loss"} <= card.metrics.keys()
    begin, end = (trained.codec.vocabulary.index(token) for token in ("<BOS>", "<EOS>"))
    assert (trained.model.config.bos_token_id, trained.model.config.eos_token_id) == (begin, end)
    assert trained.codec.begin("天")[0] == begin
    assert "\u200b" not in trained.codec.vocabulary  # --clean left it out


@pytest.fixture(scope="module")
def stream(folder: Path) -> tuple[str, ...]:
    """What a run on two texts with the tokenizer of another model was started with."""
    typed = ("novel.txt", "--train", "more.txt", "--validation", "held.txt", "--test", "held.txt")
    typed = (*typed, "--tokenizer", "summaries", "--block", "16", *LENGTH, "--out", "stream")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATGPT2_HOME", str(folder / "home"))
        patch.setitem(SIZES, "tiny", (1, 64))
        patch.chdir(folder)
        run(*typed)
    return typed


def test_the_tokenizer_of_a_directory_is_taken_as_it_is(folder: Path, stream: tuple[str, ...]) -> None:
    trained, other = load_text(folder / "stream"), load_text(folder / "summaries")
    assert trained.codec.vocabulary == other.codec.vocabulary
    assert trained.model.config.vocab_size == len(other.codec.vocabulary)
    assert (trained.codec.kind, trained.codec.window) == ("char", 16)
    figures = json.loads((folder / "stream/chatgpt2.json").read_text(encoding="utf-8"))["metrics"]
    assert figures["test_loss"] == figures["loss"]  # of the same file


def test_a_run_goes_on_with_what_it_was_started_with(folder: Path, stream: tuple[str, ...]) -> None:
    before = (folder / "stream/model.safetensors").read_bytes()
    assert "trained 3 steps" in run(*stream, "--resume")  # typed again: the same paths
    assert "trained 3 steps" in run("--resume", "--out", "stream")
    assert (folder / "stream/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("held.txt",), r"began with \(.*novel\.txt, .*more\.txt\), not with held\.txt: leave that out"),
        (("--train", "held.txt"), "not with held.txt: leave that out"),
        (("novel.txt",), "not with novel.txt: leave that out"),
        (("--validation", "more.txt"), r"--validation cannot change .*held\.txt\): leave it out"),
        (("--tokenizer", "char"), r"--tokenizer cannot change .*summaries\): leave it out"),
        (("--as", "lines"), r"--as cannot change .* \(it began with stream\)"),
    ],
)
def test_a_run_that_goes_on_with_something_else_is_refused(
    stream: tuple[str, ...], given: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        run(*given, "--resume", "--out", "stream")


def test_what_cannot_be_learned_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="name a text"):
        run(*LENGTH, *out)
    with pytest.raises(CorpusError, match="no such file"):
        run("nothing.txt", *LENGTH, *out)
    with pytest.raises(CorpusError, match="has no field thinks"):
        run("table.csv", "--field", "thinks", *LENGTH, *out)
    with pytest.raises(ConfigError, match=r"--out .*summaries holds another run"):
        run("novel.txt", "--out", str(folder / "summaries"))
    assert not (tmp_path / "out").exists()
