"""The examples of docs/text.md run: on real data where it is, else on texts written for the project."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from chatgpt2 import ChatGPT2Error, evaluate, train_text
from chatgpt2.assessment import Data, Evaluation, plotted
from chatgpt2.checkpoint import SIZES
from chatgpt2.corpus import bundled_corpus, read_corpus

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/text.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
REAL = {
    "novel.txt": "text/xiyouji.txt",
    "reviews.txt": "reviews/chnsenticorp.txt",
    "articles.txt": "text/wikitext2_valid.txt",
    "summaries.tsv": "text/booksummaries_6rows.txt",
    "marks.tsv": "reviews/dev.tsv",
}
ARTICLE = "A model is a guess about the world , and a good guess is a short one . "


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the files; of real ones the beginning."""
    folder = tmp_path / "data"
    folder.mkdir()
    real = os.environ.get("CHATGPT2_DATA")
    own = [turn.text for dialogue in read_corpus(bundled_corpus()) for turn in dialogue.turns]
    ours = {
        "novel.txt": "\n".join(own[:1500]),
        "reviews.txt": "\n".join(own[:400]),
        "articles.txt": (ARTICLE * 5 + "\n") * 60,
        "marks.tsv": "label\ttext\n" + "".join(f"{n % 2}\t{text}\n" for n, text in enumerate(own[:200])),
        "summaries.tsv": "".join(f"{n}\ta\tb\tc\td\te\t{ARTICLE}{n}\n" for n in range(30)),
    }
    for name, path in REAL.items():
        if real and (Path(real) / path).exists():
            text = (Path(real) / path).read_text(encoding="utf-8")[:60_000]
            text = text[: text.rindex("\n") + 1] if name != "novel.txt" else text
        else:
            text = ours[name]
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def old_model(folder: Path) -> None:
    """As GPT2-chitchat leaves one: pytorch_model.bin, and a vocab.txt beside it."""
    folder.mkdir()
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"酒店房间的很好"]), "utf-8"
    )
    model = GPT2LMHeadModel(GPT2Config(vocab_size=12, n_positions=64, n_embd=64, n_layer=1, n_head=1))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.skipif(
    importlib.util.find_spec("openvino_genai") is None, reason="openvino-genai is not installed"
)  # one of the examples makes files for it
def test_every_example_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", (4, 64))
    length: dict[str, Any] = {
        "steps": 4,
        "samples": 0,
        "batch_tokens": 512,
        "device": "cpu",
        "threads": 1,
        "quiet": True,
    }
    old_model(tmp_path / "old")
    names: dict[str, Any] = {"DATA": data, "OUT": tmp_path, "LENGTH": length}
    for example in EXAMPLES:
        assert len(example.splitlines()) <= 15
        exec(compile(example, "docs/text.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "novel",
        "reviews",
        "articles",
        "summaries",
        "tuned",
        "judge",
        "value",
        "two-matrices",
        "larger",
        "graph",
        "merged",
        "converted",
    }
    assert "## Evaluation" in (tmp_path / "tuned" / "README.md").read_text(encoding="utf-8")


def test_a_wrong_option_is_one_of_our_errors(tmp_path: Path) -> None:
    with pytest.raises(ChatGPT2Error, match="unexpected keyword argument 'minuets'"):
        train_text("a.txt", out=tmp_path / "out", minuets=5)
    with pytest.raises(ChatGPT2Error, match="name a file"):
        train_text(out=tmp_path / "out")
    with pytest.raises(ChatGPT2Error, match="unexpected keyword argument 'sead'"):
        evaluate(tmp_path, "a.txt", sead=1)
    with pytest.raises(ChatGPT2Error, match="is no directory of yours"):
        evaluate("uer/gpt2-chinese-cluecorpussmall", "a.txt", card=True)
    (tmp_path / "file").touch()
    with pytest.raises(ChatGPT2Error, match="cannot be written"):
        plotted(tmp_path / "file" / "a.png", Evaluation("m", 1, 1, Data((), "texts", 0, 0, 0, 0.0), {}))
