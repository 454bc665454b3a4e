"""Any text becomes a model that transformers loads; what cannot be learned is refused in one line."""

from __future__ import annotations

import json
import math
import random
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from recorder import Recorder, Unplugged
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from chatgpt2.anycodec import require_dialogue
from chatgpt2.assessment import Options as Evaluated
from chatgpt2.assessment import evaluate
from chatgpt2.batches import Deal
from chatgpt2.card import Card
from chatgpt2.checkpoint import load_any, load_checkpoint, load_text
from chatgpt2.cli import cli
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import CheckpointError, ConfigError, CorpusError
from chatgpt2.material import Windows
from chatgpt2.textcodec import TextCodec
from chatgpt2.training.learn import Result
from chatgpt2.training.options import TextOptions
from chatgpt2.training.run import Run
from chatgpt2.training.text import train_text
from chatgpt2.training.trainer import TextTrainer
from chatgpt2.writing import generate

WORDS = "天地玄黄宇宙洪荒日月盈昃辰宿列张"
Train = Callable[..., tuple[Result, Recorder]]


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    texts = ["".join(rng.choices(WORDS, k=rng.randint(4, 30))) + "。" for _ in range(120)]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def options(lines: Path, tmp_path: Path, narrow: None) -> TextOptions:
    return TextOptions(
        paths=(lines,),
        out=tmp_path / "out",
        size="tiny",
        tokenizer="char",
        block=32,
        steps=6,
        batch_tokens=128,
        precision="fp32",
        device="cpu",
        threads=1,
        samples=1,
        eval_every=3,
        save_every=1000,
    )


@pytest.fixture
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    cache = tmp_path_factory.mktemp("cache")

    def run(options: TextOptions, **kwargs: Any) -> tuple[Result, Recorder]:
        recorder = Recorder()
        return train_text(options, cache, recorder, **kwargs), recorder

    return run


@pytest.mark.parametrize("tokenizer", ["char", "bpe", "bert"])
@pytest.mark.parametrize("shape", ["stream", "lines"])
def test_what_is_trained_is_loaded_by_transformers_and_writes_on(
    train: Train, options: TextOptions, tokenizer: str, shape: Any
) -> None:
    entries = 320 if tokenizer == "bpe" else None
    result, seen = train(
        replace(options, tokenizer=tokenizer, entries=entries, shape=shape, split=(70, 20, 10), steps=3)
    )
    assert result.finished
    assert result.held_out is not None and result.tested is not None
    assert result.metrics["test_loss"] == result.tested.loss
    assert len(seen.evaluations[-1][2]) == 1
    card = Card.read(result.out)
    assert card is not None
    assert (card.objective, card.tokenizer, card.learn) == ("text", tokenizer, shape)
    checkpoint = load_text(result.out)
    theirs = AutoTokenizer.from_pretrained(result.out)
    assert theirs("天地玄黄").input_ids == checkpoint.codec.begin("天地玄黄")
    writer = pipeline("text-generation", model=str(result.out))
    rest = {"max_new_tokens": 4, "max_length": None, "do_sample": False, "return_full_text": False}
    written = writer("天地", **rest)[0]["generated_text"]
    sampling = {"temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 4, "min_new_tokens": 0}
    (ours,) = generate(result.out, "天地", engine=EngineOptions("pytorch"), **sampling)
    assert ours.texts[0] == written.replace(" ", "").rstrip("�")  # BERT's tokenizer sets spaces
    with torch.no_grad():
        ids = torch.tensor([checkpoint.codec.begin("天地")])
        again = AutoModelForCausalLM.from_pretrained(result.out)
        assert torch.equal(again(ids).logits, checkpoint.model(ids).logits)


def test_every_token_of_a_stream_is_predicted_once_in_each_epoch() -> None:
    ids = np.arange(1000, 1101)
    for shifted in (False, True):
        windows = Windows(ids, 101, 8, 0, shifted=shifted)
        begins = []
        for epoch in range(3):
            labels: list[int] = []
            for rows in windows.epoch(Deal(32, 5), epoch):
                batch = windows.__getitems__(rows)
                flat = batch.ids.reshape(-1)
                assert torch.equal(flat[batch.places] + 1, batch.labels)  # moved by one, exactly once
                labels += batch.labels.tolist()
            assert sorted(labels) == list(range(1001, 1101))
            begins.append(labels)
        assert (sorted(windows.epoch(Deal(10**6, 5), 0)) == sorted(windows.epoch(Deal(10**6, 5), 1))) is False


def test_shifted_windows_begin_elsewhere_each_epoch_and_disjoint_ones_do_not() -> None:
    def starts(shifted: bool, epoch: int) -> set[int]:
        windows = Windows(np.arange(1000), 1000, 32, 0, shifted=shifted)
        return {row[0] for rows in windows.epoch(Deal(64, 1), epoch) for row in rows}

    assert starts(False, 0) == starts(False, 1)
    assert starts(True, 0) != starts(True, 1)


def test_a_stream_has_the_ids_that_transformers_gives_the_whole_file(
    train: Train, options: TextOptions, lines: Path, tmp_path: Path
) -> None:
    text = "  two words\n\n\n   and more\n" * 3 + lines.read_text(encoding="utf-8")
    path = tmp_path / "whole.txt"
    path.write_text(text, encoding="utf-8")
    for tokenizer in ("char", "bpe"):
        out = tmp_path / tokenizer
        entries = 320 if tokenizer == "bpe" else None
        chosen = replace(
            options, paths=(path,), out=out, tokenizer=tokenizer, entries=entries, split=(100,), steps=1
        )
        _, seen = train(chosen)
        wanted = len(AutoTokenizer.from_pretrained(out)(text).input_ids)
        assert any(
            f"training on: {wanted:,} tokens, {len(text):,} characters" in line for line in seen.notices
        )


def test_what_is_not_utf8_is_said_and_what_is_big5_is_refused(
    train: Train, options: TextOptions, tmp_path: Path
) -> None:
    path = tmp_path / "old.txt"
    path.write_text("那座山正当顶上，有一块仙石。\n" * 30, encoding="gb18030")
    _, seen = train(replace(options, paths=(path,), steps=1))
    assert seen.notices.count(f"{path} is read as GB18030") == 1
    path.write_text("那座山正當頂上，有一塊仙石。\n" * 30, encoding="big5")
    with pytest.raises(CorpusError, match=r"old\.txt: seems to be Big5"):
        train(replace(options, paths=(path,), out=tmp_path / "other"))


def test_it_learns(train: Train, options: TextOptions, tmp_path: Path) -> None:
    path = tmp_path / "again.txt"
    path.write_text("天地玄黄宇宙洪荒\n" * 400, encoding="utf-8")
    result, _ = train(replace(options, paths=(path,), steps=60, lr=1e-2, split=(90, 10)))
    assert result.held_out is not None
    assert result.held_out.loss < 0.5


def test_equal_lines_are_on_one_side_of_the_split(train: Train, options: TextOptions, tmp_path: Path) -> None:
    path = tmp_path / "same.txt"
    path.write_text("天地\n" * 50 + "日月\n" * 50, encoding="utf-8")
    _, seen = train(replace(options, paths=(path,), shape="lines", split=(50, 50), steps=1))
    assert any("training on:" in line and "50 texts" in line for line in seen.notices)
    assert any("held out:" in line and "50 texts" in line for line in seen.notices)


def test_a_base_learns_new_special_tokens(train: Train, options: TextOptions, tmp_path: Path) -> None:
    train(options)
    tuned = replace(options, base=str(options.out), tokenizer=None, out=tmp_path / "tuned", shape="lines")
    train(replace(tuned, bos="<BOS>", eos="<EOS>"))
    before, after = load_text(options.out), load_text(tuned.out)
    assert len(after.codec.vocabulary) == len(before.codec.vocabulary) + 2 == after.model.config.vocab_size
    assert after.model.config.bos_token_id == after.codec.bos_id == after.codec.vocabulary.index("<BOS>")
    assert after.model.lm_head.weight is after.model.transformer.wte.weight
    with pytest.raises(ConfigError, match="lacks the tokens that stand around a text"):
        train(replace(tuned, bos="<B>", lora=2, out=tmp_path / "lora"))
    with pytest.raises(ConfigError, match="--tokenizer bpe: the base's is char"):
        train(replace(tuned, tokenizer="bpe", out=tmp_path / "other"))


def test_a_base_like_the_english_gpt2_learns_lines_and_their_end_and_transformers_agrees(
    train: Train, options: TextOptions, text_model: Path, tmp_path: Path
) -> None:
    """Its bos is its eos, and it has no pad."""
    assert AutoTokenizer.from_pretrained(text_model).pad_token is None
    known = ("The stone egg went up the mountain.", "A monkey.")
    path = tmp_path / "english.txt"
    path.write_text("\n".join(known * 4) + "\n", encoding="utf-8")
    mine = replace(options, paths=(path,), base=str(text_model), tokenizer="bpe", shape="lines", block=48)
    result, seen = train(replace(mine, split=(100,), steps=60, lr=3e-3, eval_every=0))
    assert not any("unknown" in line for line in seen.notices)
    codec, theirs = load_text(result.out).codec, AutoTokenizer.from_pretrained(result.out)
    assert (codec.kind, theirs.pad_token) == ("bpe", "<|endoftext|>")
    assert codec.bos_id == codec.eos_id == codec.pad_id == theirs.pad_token_id
    assert len(theirs) == load_text(text_model).model.config.vocab_size  # nothing is added
    prompts = ["The stone egg", "A"]
    assert (
        theirs(prompts[0]).input_ids
        == codec.begin(prompts[0])
        == [codec.bos_id, *codec.begin(prompts[0])[1:]]
    )
    config = AutoModelForCausalLM.from_pretrained(result.out).generation_config
    assert config.pad_token_id == config.eos_token_id == config.bos_token_id == codec.eos_id
    theirs.padding_side = "left"
    writer = pipeline("text-generation", model=str(result.out), tokenizer=theirs)
    for batch in (1, 2):
        written = writer(prompts, batch_size=batch, max_new_tokens=30, max_length=None, do_sample=False)
        assert [each[0]["generated_text"] for each in written] == list(known)  # and there each ends
    sampling = {"temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 30}
    ours = generate(result.out, prompts, engine=EngineOptions("pytorch"), **sampling)
    assert [prompt + each.texts[0] for prompt, each in zip(prompts, ours, strict=True)] == list(known)


def test_an_adapter_is_trained_on_any_base(train: Train, options: TextOptions, tmp_path: Path) -> None:
    train(options)
    adapted = replace(options, base=str(options.out), tokenizer=None, out=tmp_path / "adapter", lora=2)
    result, _ = train(adapted)
    assert (result.out / "adapter_config.json").exists()
    assert load_text(result.out).codec.kind == "char"
    merged = tmp_path / "merged"
    done = CliRunner().invoke(cli, ["model", "merge", str(result.out), "-o", str(merged)])
    assert (done.exit_code, "chatgpt2 generate" in done.output) == (0, True)
    shown = CliRunner().invoke(cli, ["model", "show", str(merged), "--json"])
    assert json.loads(shown.output)["objective"] == "text"


def test_chatting_with_a_text_model_is_refused_and_writing_on_is_not(
    train: Train, options: TextOptions, tmp_path: Path
) -> None:
    train(options)
    with pytest.raises(CheckpointError, match=r"plain text.*does not answer; take `chatgpt2 generate`"):
        require_dialogue(options.out)
    with pytest.raises(CheckpointError, match=r"char tokenizer.*train-text --tokenizer bert"):
        load_checkpoint(options.out)
    refused = CliRunner().invoke(cli, ["chat", "--model", str(options.out), "--once", "天地"])
    assert isinstance(refused.exception, CheckpointError)
    (written,) = generate(options.out, "天地", engine=EngineOptions("pytorch"), max_new_tokens=4)
    assert len(written.texts) == 1
    words = replace(options, tokenizer="bert", out=tmp_path / "words")
    train(words)
    with pytest.raises(CheckpointError, match=r"plain text.*train-dialog CORPUS --base"):
        require_dialogue(words.out)
    assert load_checkpoint(words.out).card.objective == "text"  # but dialogues may be taught to it
    assert isinstance(load_any(words.out).codec, TextCodec)


def test_a_text_shorter_than_a_window_says_what_to_do(
    train: Train, options: TextOptions, tmp_path: Path
) -> None:
    path = tmp_path / "short.txt"
    path.write_text("天地玄黄宇宙洪荒日月盈昃", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"short\.txt: 12 tokens.*less than one window of 32.*--block 8"):
        train(replace(options, paths=(path,)))
    path.write_text("天地玄黄", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"short\.txt: 4 tokens.*less than one window of 32: give more text$"
    ):
        train(replace(options, paths=(path,)))
    path.write_text("", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"short\.txt: is empty"):
        train(replace(options, paths=(path,)))


def test_a_base_whose_embedding_lacks_rows_is_refused(
    train: Train, options: TextOptions, tmp_path: Path
) -> None:
    train(options)
    codec = load_text(options.out).codec
    codec.tokenizer.add_tokens(["more"])
    codec.save(options.out)
    with pytest.raises(CheckpointError, match="entries but the model only"):
        train(replace(options, base=str(options.out), tokenizer=None, out=tmp_path / "tuned"))


@pytest.mark.parametrize("way", ["saved", "evaluated", "neither"])
def test_a_step_that_ruins_the_weights_is_not_kept_and_the_command_that_is_named_goes_on(
    train: Train, options: TextOptions, tmp_path: Path, way: str
) -> None:
    save, evaluate_every = {"saved": (1, 0), "evaluated": (3, 4), "neither": (3, 0)}[way]
    mine = replace(options, shape="lines", steps=8, save_every=save, eval_every=evaluate_every, lr=1e-3)
    with pytest.raises(KeyboardInterrupt):
        train_text(mine, tmp_path / "cache", Unplugged(4))
    said = (
        r"is (nan|inf) (at|after) step [45], in the batch that begins with '.*the weights of step 3 are kept"
    )
    with pytest.raises(ConfigError, match=said) as caught:
        train(replace(mine, lr=1e30), resume=True)
    assert any(word in str(caught.value) for word in WORDS)
    (kept,) = (mine.out / "checkpoints").glob("*/complete")
    assert kept.parent.name == "checkpoint-3"
    ids = torch.arange(8)[None]
    loss = AutoModelForCausalLM.from_pretrained(kept.parent)(input_ids=ids, labels=ids).loss
    assert math.isfinite(loss.item())
    (named,) = re.findall("`chatgpt2 (.*)`", str(caught.value))
    assert (
        named == f"train-text --resume --out {mine.out} --lr 0.003"
    )  # the usual one, for a tenth is too much
    more = ("--precision", "bf16") if way == "neither" else ()
    done = CliRunner().invoke(cli, [*shlex.split(named), *more])
    assert done.exit_code == 0, done
    changed = "a learning rate of 0.003 (it was 1e+30)" + (" and bf16 (it was fp32)" if more else ":")
    assert changed in done.output
    metrics = [json.loads(line) for line in (mine.out / "metrics.jsonl").read_text().splitlines()]
    assert [each["step"] for each in metrics if "loss" in each] == list(range(1, 9))
    assert all(math.isfinite(each.get("loss", 0)) for each in metrics)
    assert Run.read(mine.out).plan.lr == 3e-3


def test_a_first_step_that_ruins_the_weights_leaves_nothing_behind(
    train: Train, options: TextOptions
) -> None:
    with pytest.raises(ConfigError, match=r"step 1,.*batch that begins with '.*no step was saved") as caught:
        train(replace(options, lr=1e30, save_every=1))
    assert not list((options.out / "checkpoints").glob("*"))
    assert "--precision" not in str(caught.value)


@pytest.mark.parametrize("shape", ["stream", "lines"])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(
    train: Train, options: TextOptions, monkeypatch: pytest.MonkeyPatch, shape: Any
) -> None:
    mine = replace(options, shape=shape, steps=12, save_every=4, eval_every=6, dropout=0.1, samples=0)
    whole, _ = train(mine)
    cut = replace(mine, out=options.out.with_name("cut"))
    compute = TextTrainer.compute_loss

    def dies(self: TextTrainer, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 10:
            raise KeyboardInterrupt
        return compute(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(TextTrainer, "compute_loss", dies)
        with pytest.raises(KeyboardInterrupt):
            train(cut)
    assert not (cut.out / "model.safetensors").exists()
    result, _ = train(cut, resume=True)
    assert (result.steps, result.held_out) == (whole.steps, whole.held_out)
    assert (cut.out / "model.safetensors").read_bytes() == (mine.out / "model.safetensors").read_bytes()

    def losses(out: Path) -> list[tuple[int, float]]:
        lines = map(json.loads, (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        return [(line["step"], line["loss"]) for line in lines if "loss" in line]

    assert losses(cut.out) == losses(mine.out) and len(losses(cut.out)) == 12


@pytest.mark.parametrize("shape", ["stream", "lines"])
def test_evaluating_afterwards_gives_the_figures_of_the_run(
    train: Train, options: TextOptions, lines: Path, tmp_path: Path, shape: Any
) -> None:
    texts = lines.read_text(encoding="utf-8").splitlines()
    held = [tmp_path / name for name in ("held.txt", "held.csv")]
    held[0].write_text("".join(f" {text}\n\n" for text in texts[:20]), encoding="utf-8")
    held[1].write_text("text,n\n" + "".join(f"{text},1\n" for text in texts[20:40]), encoding="utf-8")
    result, _ = train(replace(options, shape=shape, validation=tuple(held), clean=True, samples=0))
    assert result.held_out is not None
    found = evaluate(result.out, held, Evaluated(clean=True))  # the card says what was learned
    assert found.settings["as"] == shape
    for name, figure in found.held_out.items():
        assert figure.value == pytest.approx(result.held_out.metrics[name], rel=1e-4)


def test_a_run_goes_on_only_with_its_own_text(
    train: Train, options: TextOptions, lines: Path, tmp_path: Path
) -> None:
    path = tmp_path / "own.txt"
    path.write_text(lines.read_text(encoding="utf-8"), encoding="utf-8")
    mine = replace(options, paths=(path,))
    train(mine)
    result, _ = train(mine, resume=True)
    assert result.finished
    path.write_text("别的" * 800, encoding="utf-8")
    with pytest.raises(ConfigError, match="--resume: the corpus is not the one"):
        train(mine, resume=True)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"split": (70, 20)}, "add up to 100"),
        ({"block": 4}, "--block 4"),
        ({"bos": "<B>"}, "need --as lines"),
        ({"entries": 500}, "--tokenizer bpe"),
        ({"validation": (Path("a"),), "split": (90, 10)}, "give one of them"),
        ({"vocabulary": Path("v")}, "--vocabulary is BERT's"),
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        TextOptions(**{"tokenizer": "char", **wrong})
