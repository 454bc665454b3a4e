"""A model learns to judge texts; transformers loads it; what cannot be learned is refused in one line."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from recorder import Recorder, Unplugged
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from chatgpt2.card import Card
from chatgpt2.checkpoint import load_any, load_text
from chatgpt2.classifying import classify
from chatgpt2.cli import cli
from chatgpt2.errors import CheckpointError, ConfigError, CorpusError
from chatgpt2.evaluation import Fitted, HeldOut, Judged
from chatgpt2.heads import ValueModel, load_judge
from chatgpt2.training.classifier import train_classifier
from chatgpt2.training.learn import Result
from chatgpt2.training.options import ClassifierOptions, TextOptions
from chatgpt2.training.text import train_text
from chatgpt2.training.trainer import TextTrainer

WORDS = "玄黄宇宙洪荒日月盈昃辰宿列张"
Train = Callable[..., tuple[Result[Any], Recorder]]


def texts(count: int, seed: int = 0) -> list[tuple[int, str]]:
    """Each says 天 or 地 somewhere, and so often as its label says."""
    rng = random.Random(seed)
    rows = []
    for n in range(count):
        letters = rng.choices(WORDS, k=rng.randint(3, 20))
        letters.insert(rng.randint(0, len(letters)), "天" if n % 2 else "地")
        rows.append((n % 2, "".join(letters)))
    return rows


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "marks.tsv"
    rows = "".join(
        f"{'天好' if label else '地坏'}\t{label * 2 - 0.5}\t{text}\n" for label, text in texts(160)
    )
    path.write_text("class\tnumber\ttext\n" + rows, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same texts, a quarter as wide as tiny."""
    from chatgpt2.checkpoint import SIZES

    out = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", (2, 64))
        options = TextOptions(
            paths=(table,), shape="lines", field="text", tokenizer="char", size="tiny", block=32, steps=20,
            batch_tokens=256, precision="fp32", device="cpu", threads=1, samples=0, out=out / "model",
        )  # fmt: skip
        train_text(options, out / "cache", Recorder())
    return out / "model"


@pytest.fixture
def options(table: Path, base: Path, tmp_path: Path) -> ClassifierOptions:
    return ClassifierOptions(
        paths=(table,),
        out=tmp_path / "out",
        base=str(base),
        steps=40,
        lr=1e-2,
        batch_tokens=256,
        precision="fp32",
        device="cpu",
        threads=1,
        samples=1,
        eval_every=20,
        save_every=1000,
    )


@pytest.fixture
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    cache = tmp_path_factory.mktemp("cache")

    def run(options: ClassifierOptions, **kwargs: Any) -> tuple[Result[Any], Recorder]:
        recorder = Recorder()
        return train_classifier(options, cache, recorder, **kwargs), recorder

    return run


def test_it_learns_to_tell_apart_and_transformers_agrees(train: Train, options: ClassifierOptions) -> None:
    result, seen = train(replace(options, split=(70, 20, 10), steps=120))
    assert isinstance(result.held_out, Judged) and isinstance(result.tested, Judged)
    assert result.held_out.accuracy > 0.9
    assert result.held_out.labels == ("地坏", "天好")
    assert result.metrics["test_accuracy"] == result.tested.accuracy
    prompt = seen.evaluations[-1][2][0]
    assert prompt.reply.endswith(("is 天好", "is 地坏"))
    card = Card.read(result.out)
    assert card is not None and (card.objective, card.tokenizer) == ("classification", "char")

    some = [text for _, text in texts(12, seed=3)] + ["天" * 60]  # the last is longer than the window
    ours = list(classify(result.out, some, device="cpu"))
    judge = pipeline("text-classification", model=str(result.out), top_k=None)
    for batch in (1, 5):
        theirs = judge(some, batch_size=batch, truncation=True)
        for one, other in zip(ours, theirs, strict=True):
            assert {row["label"]: row["score"] for row in other} == pytest.approx(one.scores, abs=1e-5)
    model = AutoModelForSequenceClassification.from_pretrained(result.out)
    assert model.config.id2label == {0: "地坏", 1: "天好"}


def test_a_base_like_the_english_gpt2_learns_to_tell_apart_and_transformers_agrees(
    train: Train, options: ClassifierOptions, text_model: Path, tmp_path: Path
) -> None:
    """Its bos is its eos, and it has no pad."""
    path = tmp_path / "english.tsv"
    words = [
        " ".join(random.Random(n).choices(["monkey", "stone", "egg", "the"], k=1 + n % 7)) for n in range(40)
    ]
    rows = [
        f"{text} {'well' if n % 2 else 'ill'}\t{'good' if n % 2 else 'bad'}\n" for n, text in enumerate(words)
    ]
    path.write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    mine = replace(options, paths=(path,), base=str(text_model), tokenizer="bpe", split=(80, 20))
    result, _ = train(replace(mine, steps=60))
    assert isinstance(result.held_out, Judged) and result.held_out.accuracy == 1
    tokenizer = AutoTokenizer.from_pretrained(result.out)
    model = AutoModelForSequenceClassification.from_pretrained(result.out)
    assert (
        model.config.pad_token_id
        == tokenizer.pad_token_id
        == tokenizer.eos_token_id
        == tokenizer.bos_token_id
    )
    some = ["monkey well", "the stone egg the monkey ill", "egg ill", "the the the the well", "x" * 200]
    ours = list(classify(result.out, some, device="cpu"))
    assert [each.label for each in ours[:4]] == ["good", "bad", "bad", "good"]
    judge = pipeline("text-classification", model=str(result.out), top_k=None)
    for batch in (1, 5):
        for one, other in zip(ours, judge(some, batch_size=batch, truncation=True), strict=True):
            assert {row["label"]: row["score"] for row in other} == pytest.approx(one.scores, abs=1e-5)


def test_the_report_and_the_card_hold_the_figures(train: Train, options: ClassifierOptions) -> None:
    result, _ = train(replace(options, steps=4, out=options.out / "some model"))
    report = json.loads((result.out / "classifier.json").read_text(encoding="utf-8"))
    assert result.held_out is not None
    assert report["held_out"]["accuracy"] == result.held_out.accuracy
    assert report["held_out"]["confusion"] == [list(row) for row in result.held_out.confusion]
    assert [each["label"] for each in report["held_out"]["classes"]] == ["地坏", "天好"]
    assert (report["head"], report["freeze_backbone"]) == ("classification", False)
    readme = (result.out / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-classification" in readme and "| **地坏** |" in readme


def test_a_frozen_backbone_stays_as_it_is_and_is_asked_once(
    train: Train, options: ClassifierOptions, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = replace(options, freeze_backbone=True, dropout=0.1, samples=0)
    result, seen = train(frozen)
    assert any("once was enough" in line for line in seen.notices)
    before, after = load_text(base).model, load_judge(result.out).model
    for name, weight in before.transformer.state_dict().items():
        assert torch.equal(weight, after.transformer.state_dict()[name]), name
    monkeypatch.setattr("chatgpt2.training.labelled._MOST_KEPT", 0)
    again, seen = train(replace(frozen, out=options.out.with_name("again")))
    assert not any("once was enough" in line for line in seen.notices)
    assert again.held_out.loss == pytest.approx(result.held_out.loss, rel=1e-3)  # kept or not: the same run


def test_a_frozen_backbone_keeps_no_activations(base: Path) -> None:
    from chatgpt2.heads import with_head
    from chatgpt2.training.judging import prepare
    from chatgpt2.training.objective import states

    model = with_head(load_text(base).model, "classification", ("a", "b"), 0)
    model.transformer.requires_grad_(False)
    inner = prepare(model.train(), "classification", False, "cpu")
    ids, places = torch.tensor([[1, 2, 3, 4]]), torch.tensor([3])
    found = states(inner, ids, places)
    assert found.grad_fn is None and not found.requires_grad
    model(ids=ids, places=places, labels=torch.tensor([1])).backward()
    assert model.score.weight.grad is not None
    assert all(weight.grad is None for weight in model.transformer.parameters())
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each) or each, lambda each: each):
        model(ids=ids, places=places, labels=torch.tensor([1]))
    assert (
        max(each.numel() for each in kept) <= model.score.weight.numel()
    )  # the head's own, and nothing of the blocks


def test_numbers_are_learned_and_told(train: Train, options: ClassifierOptions) -> None:
    result, _ = train(
        replace(options, head="regression", label="number", steps=120, out=options.out / "regression")
    )
    assert isinstance(result.held_out, Fitted)
    assert result.held_out.r2 > 0.5
    (one,) = classify(result.out, ["玄黄天宇宙"])
    assert one.label is None and list(one.scores) == ["number"]
    theirs = pipeline("text-classification", model=str(result.out))("玄黄天宇宙")
    assert theirs[0]["score"] == pytest.approx(one.score, abs=1e-5)
    shown = json.loads(CliRunner().invoke(cli, ["model", "show", str(result.out), "--json"]).output)
    assert shown["kind"] == "regression: number"
    assert {part["name"]: part["parameters"] for part in shown["parts"]}["head that judges"] == 64
    report = json.loads((result.out / "classifier.json").read_text(encoding="utf-8"))
    assert report["held_out"]["mae"] == result.held_out.mae


def test_a_value_model_gives_logits_and_values_at_once(
    train: Train, options: ClassifierOptions, base: Path
) -> None:
    chosen = replace(options, head="value", label="number", freeze_backbone=True)
    result, _ = train(chosen)
    assert isinstance(result.held_out, Fitted)
    tree = CliRunner().invoke(cli, ["model", "show", str(result.out), "--tree"]).output
    assert tree.startswith("ValueModel(") and "(value_head)" in tree
    model = ValueModel.from_pretrained(result.out).eval()
    codec = load_judge(result.out).codec
    rows = [codec.encode_whole([text]).ids.tolist() for text in ("玄天黄", "地宇宙洪荒日月")]
    ids = torch.tensor([[*row, *[codec.pad_id] * (max(map(len, rows)) - len(row))] for row in rows])
    mask = (ids != codec.pad_id).long()
    with torch.no_grad():
        found, plain = model(ids, attention_mask=mask), load_text(base).model(ids, attention_mask=mask)
        assert torch.allclose(found.logits, plain.logits, atol=1e-5)  # the frozen backbone writes as before
        assert found.token_values.shape == ids.shape and found.text_values.shape == (2,)
        assert torch.equal(found.text_values, model(ids).text_values)  # found by the pad token as well
        left = torch.tensor([[codec.pad_id] * (ids.shape[1] - len(rows[0])) + rows[0]])
        places = (left != codec.pad_id).long()
        alone = model(left, attention_mask=places, position_ids=(places.cumsum(-1) - 1).clamp(0))
        assert alone.text_values[0] == pytest.approx(found.text_values[0].item(), abs=1e-5)
    ours = list(classify(result.out, ["玄天黄", "地宇宙洪荒日月"]))
    assert [each.score for each in ours] == pytest.approx(found.text_values.tolist(), abs=1e-5)
    written = model.generate(ids[1:], max_new_tokens=4, do_sample=False)
    assert torch.equal(
        written,
        AutoModelForCausalLM.from_pretrained(result.out).generate(ids[1:], max_new_tokens=4, do_sample=False),
    )


def test_a_fresh_head_that_writes_learns_on_a_frozen_backbone(
    train: Train, options: ClassifierOptions, base: Path
) -> None:
    result, _ = train(replace(options, head="lm", field="text", freeze_backbone=True, steps=20))
    assert isinstance(result.held_out, HeldOut)
    before, after = load_text(base), load_any(result.out)
    assert after.card.objective == "text"
    assert torch.equal(before.model.transformer.wte.weight, after.model.transformer.wte.weight)
    assert not torch.equal(after.model.lm_head.weight, after.model.transformer.wte.weight)
    assert result.held_out.perplexity < len(after.codec.vocabulary) / 4  # it has learned, from random weights


def test_lora_is_merged_so_that_everything_loads_what_is_saved(
    train: Train, options: ClassifierOptions
) -> None:
    result, _ = train(replace(options, lora=4, samples=0))
    assert not (result.out / "adapter_config.json").exists()
    theirs = AutoModelForSequenceClassification.from_pretrained(result.out)
    tokenizer = AutoTokenizer.from_pretrained(result.out)
    (ours,) = classify(result.out, ["玄黄天宇宙"])
    with torch.no_grad():
        logits = theirs(**tokenizer("玄黄天宇宙", return_tensors="pt")).logits
    assert logits.softmax(-1)[0].tolist() == pytest.approx(list(ours.scores.values()), abs=1e-5)
    assert result.held_out.accuracy > 0.6


def test_a_new_model_learns_too(train: Train, options: ClassifierOptions, narrow: None) -> None:
    new = replace(options, base=None, size="tiny", tokenizer="char", block=32, steps=2)
    result, _ = train(new)
    assert result.finished
    assert load_judge(result.out).codec.window == 32


def test_a_judge_is_refused_where_one_that_writes_is_needed(
    train: Train, options: ClassifierOptions, base: Path, tmp_path: Path
) -> None:
    result, _ = train(replace(options, steps=1))
    with pytest.raises(CheckpointError, match="judges texts and writes none: take `chatgpt2 classify"):
        load_any(result.out)
    with pytest.raises(CheckpointError, match="cannot judge, only write: `chatgpt2 train-classifier"):
        load_judge(base)
    with pytest.raises(CheckpointError, match="judges texts"):
        train(replace(options, base=str(result.out), out=tmp_path / "more"))


@pytest.mark.parametrize(
    "more", [{}, {"freeze_backbone": True}, {"lora": 2}], ids=["whole", "frozen", "lora"]
)
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(
    train: Train, options: ClassifierOptions, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    mine = replace(options, steps=12, save_every=4, eval_every=6, dropout=0.1, **more)
    whole, _ = train(mine)
    cut = replace(mine, out=options.out.with_name("cut"))
    compute = TextTrainer.compute_loss

    def dies(self: TextTrainer, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 9:
            raise KeyboardInterrupt
        return compute(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(TextTrainer, "compute_loss", dies)
        with pytest.raises(KeyboardInterrupt):
            train(cut)
    result, _ = train(cut, resume=True)
    assert result.steps == 12
    assert (cut.out / "model.safetensors").read_bytes() == (mine.out / "model.safetensors").read_bytes()
    assert result.held_out == whole.held_out


def test_a_run_goes_on_only_with_its_own_texts(
    train: Train, options: ClassifierOptions, tmp_path: Path
) -> None:
    path = tmp_path / "own.tsv"
    rows = [f"{label}\t{text}\n" for label, text in texts(60)]
    path.write_text("label\ttext\n" + "".join(rows), encoding="utf-8")
    mine = replace(options, paths=(path,), steps=2)
    train(mine)
    path.write_text("label\ttext\n" + "".join(rows[:50]), encoding="utf-8")
    with pytest.raises(ConfigError, match="--resume: the corpus is not the one"):
        train(mine, resume=True)


@pytest.mark.parametrize(
    ("rows", "more", "problem"),
    [
        ("1\t好\n1\t很好\n", {}, r"every label is '1': two classes or more are needed"),
        ("1\t好\n一\t差\n", {"head": "regression"}, r"line 3: the label '一' is not a number"),
        ("nan\t好\n1\t差\n", {"head": "value"}, r"line 2: the label 'nan' is not a number"),
        (
            "".join(f"{n / 7}\t好{n}\n" for n in range(40)),
            {},
            r"40 different labels for 40 texts.*--head regression",
        ),
        ("1\t好\n0\t \n", {}, r"line 3: has no text"),
        ("1\t好\n0\t差\n", {"label": "mood"}, r"has no field mood"),
        ("1\t好\n0\t差\n", {"block": 999}, r"--block 999: the base has 32 positions"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    train: Train, options: ClassifierOptions, tmp_path: Path, rows: str, more: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "few.tsv"
    path.write_text("label\ttext\n" + rows, encoding="utf-8")
    with pytest.raises((CorpusError, ConfigError), match=problem):
        train(replace(options, paths=(path,), **more))
    assert not options.out.exists()


def test_a_label_that_is_only_in_the_validation_is_refused(
    train: Train, options: ClassifierOptions, tmp_path: Path
) -> None:
    own, other = tmp_path / "own.tsv", tmp_path / "other.tsv"
    own.write_text("label\ttext\n1\t好\n0\t差\n", encoding="utf-8")
    other.write_text("label\ttext\n1\t好\n2\t中\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"other\.tsv, line 3: the label '2' is not among.*: 0, 1"):
        train(replace(options, paths=(own,), validation=(other,)))


def test_a_base_whose_embedding_lacks_rows_is_refused(
    train: Train, options: ClassifierOptions, base: Path, tmp_path: Path
) -> None:
    import shutil

    other = tmp_path / "base"
    shutil.copytree(base, other)
    codec = load_text(other).codec
    codec.tokenizer.add_tokens(["more"])
    codec.save(other)
    with pytest.raises(CheckpointError, match="entries but the model only"):
        train(replace(options, base=str(other)))


@pytest.mark.parametrize("freeze", [False, True])
def test_a_step_that_ruins_the_weights_is_not_kept_and_the_run_goes_on_with_a_lower_rate(
    train: Train, options: ClassifierOptions, tmp_path: Path, freeze: bool
) -> None:
    mine = replace(options, steps=8, save_every=1, eval_every=4, freeze_backbone=freeze)
    mine = replace(mine, head="regression", label="number")
    with pytest.raises(KeyboardInterrupt):
        train_classifier(mine, tmp_path / "cache", Unplugged(4))
    with pytest.raises(
        ConfigError, match=r"the loss is (inf|nan) after step 4, in the batch that.*step 3 are"
    ):
        train(replace(mine, lr=1e30), resume=True)
    (kept,) = (mine.out / "checkpoints").glob("*/complete")
    assert kept.parent.name == "checkpoint-3"
    model = AutoModelForSequenceClassification.from_pretrained(kept.parent)
    assert model(torch.arange(8)[None]).logits.isfinite().all()
    result, seen = train(replace(mine, lr=1e-3), resume=True)
    assert result.finished and seen.steps[0].step == 4
    assert isinstance(result.held_out, Fitted) and math.isfinite(result.held_out.loss)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_label_beyond_all_others_ends_the_run_with_the_batch_that_it_is_in(
    train: Train, options: ClassifierOptions, tmp_path: Path, freeze: bool
) -> None:
    path = tmp_path / "beyond.tsv"
    rows = [f"{label}\t{text}\n" for label, text in texts(80)] + ["1e30\t" + "天" * 30 + "\n"]
    path.write_text("label\ttext\n" + "".join(rows), encoding="utf-8")
    mine = replace(
        options, paths=(path,), head="regression", freeze_backbone=freeze, split=(100,), batch_tokens=30
    )
    with pytest.raises(ConfigError, match=rf"the loss is inf at step \d+,.*begins with '{'天' * 20}"):
        train(mine)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"freeze_backbone": True, "base": None}, "--freeze-backbone keeps what a model has learned"),
        ({"freeze_backbone": True, "lora": 2}, "leaves nothing for --lora"),
        ({"freeze_backbone": True, "freeze": 1}, "leaves nothing for --freeze"),
        ({"head": "lm", "base": None}, "--head lm is a new head"),
        ({"head": "lm", "label": "x"}, "leave --label out"),
        ({"split": (50, 40)}, "add up to 100"),
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ClassifierOptions(**{"base": "b", **wrong})
