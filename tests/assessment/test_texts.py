from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from small_models import POEMS, TALKS, TEXTS

from chatgpt2.assessment import Options, compare, evaluate
from chatgpt2.assessment.card import shown
from chatgpt2.assessment.result import NAMES
from chatgpt2.checkpoint import load_any
from chatgpt2.cli.evaluate import evaluate as command
from chatgpt2.errors import ConfigError, CorpusError


def theirs(model: Path, text: str, window: int) -> float:
    """The summed loss by transformers, window after window, each beginning with the last token of the one before."""
    loaded = load_any(model)
    ids = [
        number for line in text.splitlines(keepends=True) for number in loaded.codec.encode_texts([line])[0]
    ]
    total = 0.0
    for start in range(0, len(ids) - 1, window - 1):
        row = torch.tensor([ids[start : start + window]], dtype=torch.long)
        with torch.inference_mode():
            total += float(loaded.model(input_ids=row, labels=row).loss) * (row.shape[1] - 1)
    return total


class Watcher:
    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def notice(self, text: str) -> None: ...

    def step(self, what: str, done: int, total: int) -> None:
        self.told.append((done, total))


@pytest.mark.parametrize("times", [1, 40])
def test_the_loss_of_a_text_is_that_of_transformers(text_model: Path, tmp_path: Path, times: int) -> None:
    text = "".join(f"{line}\n" for line in TEXTS) * times
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    loaded = load_any(text_model)
    watcher = Watcher()
    evaluated = evaluate(text_model, [tmp_path], watcher=watcher)
    found = evaluated.losses
    assert found is not None
    assert found.nll.sum() == pytest.approx(theirs(text_model, text, 64), rel=1e-4)
    tokens = sum(len(loaded.codec.encode_texts([line + "\n"])[0]) for line in TEXTS) * times
    assert (found.tokens.sum(), found.characters.sum(), evaluated.data.unknown) == (tokens - 1, len(text), 0)
    assert len(found.keys) == math.ceil(len(text) / 1000)
    assert watcher.told[-1] == (tokens, tokens)


def test_models_with_different_vocabularies_are_compared_on_the_same_pieces(
    text_model: Path, dialogue_model: Path, tmp_path: Path
) -> None:
    text = "\n".join([*TEXTS, *("".join(talk) for talk in TALKS)] * 20)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    options = Options("stream")
    one, other = (evaluate(each, [tmp_path / "text.txt"], options) for each in (text_model, dialogue_model))
    assert one.data.kind == "pieces of text"
    assert one.data.characters == other.data.characters == len(text)
    assert one.data.tokens != other.data.tokens
    assert other.data.unknown > 0 == one.data.unknown
    ratio = compare(one, other)
    assert ratio is not None
    expected = [each.held_out["perplexity_per_character"].value for each in (one, other)]
    assert ratio.value == pytest.approx(expected[1] / expected[0])


def test_auto_takes_what_the_model_has_learned(text_model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    found = evaluate(text_model, [tmp_path / "text.txt"])
    assert found.data.kind == "pieces of text"
    assert found.held_out["perplexity"].value < 3
    assert found.replies == {}
    with pytest.raises(ConfigError, match="knows no dialogues: take --as stream"):
        evaluate(text_model, [tmp_path / "text.txt"], Options("dialogues"))


def test_several_files_are_one_stream_however_much_is_tokenised_at_once(
    text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"{line}\n" for line in TEXTS) * 10
    whole = tmp_path / "whole.txt"
    whole.write_text(text + "\n" + text, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"folder/{name}.txt").write_text(text, encoding="utf-8")
    one = evaluate(text_model, [whole])
    monkeypatch.setattr("chatgpt2.tokens.CHUNK_CHARACTERS", 500)
    other = evaluate(text_model, [tmp_path / "folder"])
    assert one.data.characters == other.data.characters == 2 * len(text) + 1
    assert one.held_out == other.held_out


def test_a_stream_is_read_from_a_column(text_model: Path, tmp_path: Path) -> None:
    table, plain = tmp_path / "texts.csv", tmp_path / "texts.txt"
    table.write_text(
        "n,says\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS)), encoding="utf-8"
    )
    plain.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    found = evaluate(text_model, [table], Options("stream", field="says"))
    assert found.held_out == evaluate(text_model, [plain]).held_out
    with pytest.raises(CorpusError, match=r"has no field 9"):
        evaluate(text_model, [table], Options("stream", field="9"))


def test_bad_input_is_one_clear_line(text_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    for name, problem in (
        ("nothing.txt", "no such file"),
        ("empty.txt", "is empty"),
        ("none", "holds no file that ends in"),
    ):
        (tmp_path / "none").mkdir(exist_ok=True)
        with pytest.raises(CorpusError, match=problem):
            evaluate(text_model, [tmp_path / name])
    (tmp_path / "broken.txt").write_bytes(
        "你好吗\n".encode() * 200 + b"\xff\xfe\xff\n" + "你好吗\n".encode() * 200
    )
    with pytest.raises(CorpusError, match=r"broken\.txt, line 201: has a byte that is not utf-8"):
        evaluate(text_model, [tmp_path / "broken.txt"])


def test_lines_and_records_are_measured_each_by_itself(text_model: Path, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text(
        "n,says\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS)), encoding="utf-8"
    )
    plain = tmp_path / "texts.txt"
    plain.write_text("\n\n".join(TEXTS), encoding="utf-8")
    loaded = load_any(text_model)
    end = loaded.codec.stop_ids[0]
    total = labels = 0.0
    for text in TEXTS:
        row = torch.tensor([[end, *loaded.codec.encode_texts([text])[0].tolist(), end]])
        with torch.inference_mode():
            total += float(loaded.model(input_ids=row, labels=row).loss) * (row.shape[1] - 1)
        labels += row.shape[1] - 1
    for path, options in (
        (table, Options("lines", field="says")),
        (plain, Options("lines")),
        (plain, Options("records")),
    ):
        found = evaluate(text_model, [path], options)
        assert (found.data.items, found.data.kind, found.data.tokens) == (len(TEXTS), "texts", labels)
        assert found.data.characters == sum(map(len, TEXTS))
        assert found.held_out["loss"].value == pytest.approx(total / labels, rel=1e-4)
    with pytest.raises(ConfigError, match="--field is for texts: it needs --as stream"):
        evaluate(text_model, [table], Options("dialogues", field="says"))
    with pytest.raises(CorpusError, match="has no field 9"):
        evaluate(text_model, [table], Options("lines", field="9"))


def test_a_model_of_dialogues_is_measured_on_texts_too(dialogue_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{talk[0]}\n" for talk in TALKS), encoding="utf-8")
    found = evaluate(dialogue_model, [path], Options("lines"))
    assert (found.data.items, found.data.kind) == (len(TALKS), "texts")
    assert math.isfinite(found.held_out["loss"].value)


@pytest.mark.parametrize("kind", ["text_model", "char_model"])
def test_the_card_of_a_model_of_texts_has_its_figures_and_no_replies(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    model = shutil.copytree(request.getfixturevalue(kind), tmp_path / "model")
    (tmp_path / "lines.txt").write_text("\n".join((*TEXTS, *POEMS) * 5) + "\n", encoding="utf-8")
    done = CliRunner().invoke(command, [str(model), str(tmp_path / "lines.txt")])
    assert done.exit_code == 0, done.output
    card = (model / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# model\n")
    what = "pieces of text" if kind == "text_model" else "texts"
    assert f" {what} (" in card and "of `lines.txt`" in card
    found = evaluate(model, [tmp_path / "lines.txt"])
    for name in ("loss", "perplexity", "perplexity_per_character"):
        row = f"| {NAMES[name][0]} | {shown(name, found.figures[name])} |"
        assert row in card
    assert "people" not in card and "distinct" not in card
    assert (model / "evaluation.png").read_bytes().startswith(b"\x89PNG")
