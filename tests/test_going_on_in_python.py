"""`resume=True` of the Python API: a run goes on with what it began with, and says which option is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_models import POEMS, TALKS

from chatgpt2 import train_classifier, train_dialog, train_text
from chatgpt2.checkpoint import SIZES
from chatgpt2.errors import ConfigError

LENGTH: dict[str, Any] = {"steps": 2, "device": "cpu", "threads": 1, "samples": 0, "quiet": True}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", (1, 64))


def refused(train: Any, out: Path, wrong: dict[str, Any], problem: str, *paths: Path) -> None:
    before = (out / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=problem):
        train(*paths, out=out, resume=True, quiet=True, **wrong)
    assert (out / "run.json").read_bytes() == before


def test_a_run_on_texts_goes_on_only_as_it_began(tmp_path: Path) -> None:
    text, other, out = (tmp_path / name for name in ("text.txt", "other.txt", "out"))
    for path in (text, other):
        path.write_text("\n".join(POEMS * 4) + "\n", encoding="utf-8")
    train_text(text, out=out, tokenizer="char", size="tiny", block=16, split=[80, 20], **LENGTH)
    before = (out / "model.safetensors").read_bytes()
    assert train_text(out=out, resume=True, quiet=True).steps == 2
    again = {"tokenizer": "char", "split": [80, 20], "block": 16, "keep": 2, **LENGTH}
    assert train_text(str(text), out=str(out), resume=True, **again).steps == 2
    assert (out / "model.safetensors").read_bytes() == before
    for wrong, problem in (
        ({"size": "small"}, r"^--size cannot change in a resumed run \(it began with tiny\): leave it out$"),
        ({"tokenizer": "bpe"}, r"--tokenizer cannot change .*began with char"),
        ({"block": 32}, r"--block cannot change .*began with 16"),
        ({"split": [50, 50]}, r"--split cannot change .*began with 80, 20"),
        ({"shape": "lines"}, r"--as cannot change .*began with stream"),
        ({"lora": 2}, r"--lora cannot change .*began with none"),
        ({"steps": 3}, r"--steps cannot change .*began with 2"),
        ({"minuets": 3}, "train-text has no option 'minuets'"),
    ):
        refused(train_text, out, wrong, problem)
    refused(train_text, out, {}, r"goes on with what the run in .*out began with \(.*text\.txt\), not", other)
    refused(train_dialog, out, {}, "is one of `chatgpt2 train-text`: use that")
    refused(train_classifier, out, {}, "is one of `chatgpt2 train-text`: use that")
    with pytest.raises(ConfigError, match=r"holds no run \(no run\.json\)"):
        train_text(out=tmp_path / "nothing", resume=True)
    text.write_text("\n".join(POEMS[::-1] * 4) + "\n", encoding="utf-8")
    refused(train_text, out, {}, "the corpus is not the one that the run in .*out began with")


def test_an_adapter_goes_on_only_as_it_began(dialogue_model: Path, text_model: Path, tmp_path: Path) -> None:
    corpus, out = tmp_path / "talks.txt", tmp_path / "out"
    corpus.write_text("\n\n".join("\n".join(talk) for talk in TALKS) + "\n", encoding="utf-8")
    train_dialog(corpus, out=out, base=dialogue_model, lora=2, **LENGTH)
    assert train_dialog(out=out, resume=True, base=dialogue_model, lora=2, quiet=True).steps == 2
    for wrong, problem in (
        ({"lora": 4}, r"^--lora cannot change in a resumed run \(it began with 2\): leave it out$"),
        ({"base": text_model}, r"--base cannot change .*began with .*talks"),
        ({"length": 32}, r"--length cannot change .*began with none"),
        ({"eval_corpus": corpus}, r"--eval-corpus cannot change .*began with none"),
    ):
        refused(train_dialog, out, wrong, problem)
