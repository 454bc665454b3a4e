from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recorder import Recorder, Unplugged
from transformers import AutoModelForCausalLM, AutoTokenizer

from chatgpt2.checkpoint import Card, create_model, load_checkpoint, save_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.errors import CheckpointError, ConfigError, CorpusError
from chatgpt2.training import learn as module
from chatgpt2.training.arguments import trainer_arguments
from chatgpt2.training.dialogue import Result, train_dialog
from chatgpt2.training.options import TrainOptions
from chatgpt2.training.plan import make_plan
from chatgpt2.training.trainer import TextTrainer
from chatgpt2.vocabulary import load_vocabulary, vocabulary_hash

Train = Callable[..., tuple[Result, Recorder]]


@pytest.fixture
def base(vocabulary: Path, tmp_path: Path, narrow: None) -> Path:
    codec = Codec(load_vocabulary(vocabulary), 64)
    folder = tmp_path / "base"
    card = Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=64)
    save_checkpoint(folder, create_model("tiny", codec), codec, card)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder).model.state_dict())


def test_a_run_learns_and_leaves_a_checkpoint(train: Train, options: TrainOptions) -> None:
    result, seen = train(replace(options, steps=40, lr=3e-3, eval_every=8))
    assert result.finished and result.steps == 40
    assert seen.ended and seen.plan is not None and seen.plan.steps == 40
    assert seen.steps[-1].loss < seen.steps[0].loss * 0.6
    assert result.held_out is not None
    first = seen.evaluations[0][1]
    assert first is not None and result.held_out.loss < first.loss
    assert len(seen.evaluations) == 5
    assert seen.evaluations[-1][2][0].reply  # a sample reply to a held-out prompt
    out = options.out
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "loss" in r] == list(range(1, 41))
    assert sum("eval_loss" in r for r in records) == 5
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    card = json.loads((out / "chatgpt2.json").read_text())
    assert card["training"]["steps"] == 40
    assert card["metrics"]["perplexity_per_character"] > 1
    assert "distinct_2" in card["metrics"]


def test_other_tools_load_the_checkpoint(train: Train, options: TrainOptions) -> None:
    train(options)
    tokenizer = AutoTokenizer.from_pretrained(options.out)
    model = AutoModelForCausalLM.from_pretrained(options.out)
    assert model.config.vocab_size == len(tokenizer)
    assert (model.config.bos_token_id, model.config.eos_token_id) == (
        tokenizer.convert_tokens_to_ids("[CLS]"),
        tokenizer.convert_tokens_to_ids("[SEP]"),
    )


def test_the_same_seed_gives_the_same_weights(train: Train, options: TrainOptions, tmp_path: Path) -> None:
    train(options)
    train(replace(options, out=tmp_path / "again"))
    train(replace(options, out=tmp_path / "other", seed=1))
    one, two, other = weights(options.out), weights(tmp_path / "again"), weights(tmp_path / "other")
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_one_dialogue_is_enough(train: Train, options: TrainOptions, tmp_path: Path) -> None:
    corpus = tmp_path / "one.txt"
    corpus.write_text("你好吗\n好了", encoding="utf-8")
    result, seen = train(replace(options, corpus=(corpus,), steps=None, batch_tokens=None))
    assert result.finished and result.held_out is None
    assert any("no held-out loss" in n for n in seen.notices)
    assert seen.steps[-1].loss < 0.5  # one dialogue is learned by heart


def test_minutes_fixes_the_number_of_steps_beforehand(train: Train, options: TrainOptions) -> None:
    result, seen = train(replace(options, steps=None, minutes=0.03, eval_every=0))
    assert seen.plan is not None
    assert result.steps == seen.plan.steps
    card = json.loads((options.out / "chatgpt2.json").read_text())
    assert card["training"]["steps"] == result.steps


def test_measuring_the_speed_changes_no_weight(
    train: Train, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(options)
    monkeypatch.setattr(module, "steps_in_time", lambda *args: (8, 10))
    train(replace(options, steps=None, minutes=0.02, out=tmp_path / "timed"))
    one, two = weights(options.out), weights(tmp_path / "timed")
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_fine_tuning_starts_from_the_base(train: Train, options: TrainOptions, base: Path) -> None:
    before = weights(base)
    result, _ = train(replace(options, base=str(base), vocabulary=None, freeze=2, steps=4))
    after = weights(options.out)
    assert result.finished
    frozen = [k for k in before if ".h.0." in k or ".h.1." in k or "wte" in k or "wpe" in k]
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    assert not torch.equal(
        before["transformer.h.3.mlp.c_fc.weight"], after["transformer.h.3.mlp.c_fc.weight"]
    )


def test_lora_saves_an_adapter_that_loads_onto_its_base(
    train: Train, options: TrainOptions, base: Path
) -> None:
    train(replace(options, base=str(base), vocabulary=None, lora=4, steps=6, lr=1e-2))
    assert (options.out / "adapter_model.safetensors").exists()
    assert not (options.out / "model.safetensors").exists()
    tuned, before = weights(options.out), weights(base)
    assert tuned.keys() == before.keys()
    assert torch.equal(tuned["transformer.wte.weight"], before["transformer.wte.weight"])
    key = "transformer.h.0.attn.c_attn.weight"
    assert not torch.equal(tuned[key], before[key])


def test_learning_the_bots_turns_only(train: Train, options: TrainOptions) -> None:
    result, _ = train(replace(options, learn="bot", out=options.out / "bot"))
    everything, _ = train(replace(options, out=options.out / "all"))
    assert result.held_out and everything.held_out
    assert result.held_out.tokens < everything.held_out.tokens


def test_a_corpus_of_its_own_can_be_held_out(train: Train, options: TrainOptions, tmp_path: Path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("你好吗\n你好了\n\n山水吗\n山水了", encoding="utf-8")
    result, _ = train(replace(options, eval_corpus=(held,)))
    assert result.held_out is not None
    assert result.held_out.tokens == 2 * 2 * 4


def test_patience_keeps_the_best_weights(train: Train, options: TrainOptions) -> None:
    # A learning rate that destroys the model after the warm-up: the first evaluation stays the best.
    still = replace(options, steps=60, lr=0.5, warmup=30, schedule="constant")
    wild = replace(still, eval_every=2, patience=2, save_every=None)
    result, seen = train(wild)
    losses = [held.loss for _, held, _ in seen.evaluations if held]
    assert result.steps < 60
    assert result.held_out is not None
    assert result.held_out.loss == pytest.approx(min(losses), rel=1e-4)


def test_tensorboard_gets_the_losses(train: Train, options: TrainOptions) -> None:
    pytest.importorskip("tensorboard")
    train(replace(options, report_to=("tensorboard",), steps=2))
    assert list(options.out.rglob("events.out.tfevents*"))


def test_errors_name_the_option_or_file(
    train: Train, options: TrainOptions, tmp_path: Path, base: Path
) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises((CorpusError, ConfigError), match=r"empty\.txt"):
        train(replace(options, corpus=(empty,)))
    with pytest.raises(CorpusError, match="missing"):
        train(replace(options, corpus=(tmp_path / "missing",)))
    with pytest.raises(CheckpointError, match="nowhere"):
        train(replace(options, base=str(tmp_path / "nowhere"), vocabulary=None))
    with pytest.raises(ConfigError, match="--length 4096"):
        train(replace(options, base=str(base), vocabulary=None, length=4096))
    with pytest.raises(ConfigError, match="--device"):
        train(replace(options, device="cuda:7"))
    with pytest.raises(ConfigError, match="--report-to nowhere"):
        train(replace(options, report_to=("nowhere",)))
    with pytest.raises(CheckpointError, match="cannot write"):
        train(replace(options, out=empty / "out"))
    options.out.mkdir()
    (options.out / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds another run"):
        train(options)


def test_out_of_memory_says_what_to_lower(
    train: Train, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(TextTrainer, "compute_loss", fail)
    with pytest.raises(ConfigError, match="--batch-tokens"):
        train(options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so(train: Train, options: TrainOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: TextTrainer, model: object, trial: object) -> None:
        with open("/dev/full", "w") as file:  # noqa: PTH123
            file.write("x" * 100_000)

    monkeypatch.setattr(TextTrainer, "_save_checkpoint", full)
    with pytest.raises(CheckpointError, match="full"):
        train(options)


def test_an_infinite_loss_ends_the_run_with_advice(train: Train, options: TrainOptions) -> None:
    with pytest.raises(ConfigError, match="--lr"):
        train(replace(options, optimizer="adamw", lr=1e30, steps=30))


def test_the_random_state_of_dropout_is_not_touched_by_sampling(
    train: Train, options: TrainOptions, tmp_path: Path
) -> None:
    quiet = replace(options, dropout=0.1, samples=0, out=tmp_path / "quiet")
    train(quiet)
    train(replace(quiet, samples=2, out=tmp_path / "talking"))
    one, two = weights(tmp_path / "quiet"), weights(tmp_path / "talking")
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("way", ["lora", "freeze", "patience", "adamw"])
def test_every_way_of_training_resumes_exactly(
    way: str, options: TrainOptions, base: Path, tmp_path: Path
) -> None:
    long = replace(options, steps=12, dropout=0.1, eval_every=2, save_every=4)
    long = {
        "lora": replace(long, base=str(base), vocabulary=None, lora=4, lr=1e-2),
        "freeze": replace(long, base=str(base), vocabulary=None, freeze=2),
        "patience": replace(long, save_every=None, patience=3),
        "adamw": replace(long, optimizer="adamw", schedule="cosine"),
    }[way]
    cache = tmp_path / "cache"
    whole = train_dialog(long, cache, Recorder())
    broken = replace(long, out=tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        train_dialog(broken, cache, Unplugged(7))
    result = train_dialog(broken, cache, Recorder(), resume=True)
    assert result.steps == whole.steps
    one, two = weights(long.out), weights(broken.out)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_resumed_run_tells_what_changed_since_it_began(train: Train, options: TrainOptions) -> None:
    train(options)
    path = options.out / "run.json"
    raw = json.loads(path.read_text())
    raw["versions"] |= {"torch": "2.0.0", "of_a_later_version": "1"}
    path.write_text(json.dumps(raw))
    _, seen = train(options, resume=True)
    assert any("torch 2.0.0" in notice for notice in seen.notices)


def test_one_process_uses_one_device(
    options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "")  # so that it is put back afterwards
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    arguments = trainer_arguments(options, make_plan(options, 8, 64, False), tmp_path, "cuda:1", False)
    assert str(arguments.device) == "cuda:1"
    assert arguments.n_gpu == 1
