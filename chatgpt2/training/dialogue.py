"""`train_dialog`: from dialogue files to a checkpoint."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

import chatgpt2
from chatgpt2.checkpoint import (
    Card,
    Checkpoint,
    add_lora,
    create_model,
    freeze,
    load_checkpoint,
    quiet_transformers,
    save_checkpoint,
    set_dropout,
)
from chatgpt2.codec import Codec
from chatgpt2.device import choose_bf16, choose_device
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import HeldOut, distinct, repetition
from chatgpt2.training.curve import draw_curve
from chatgpt2.training.data import Data, read_data
from chatgpt2.training.faults import explained
from chatgpt2.training.machine import keep_freed_memory
from chatgpt2.training.objective import prepare
from chatgpt2.training.options import TrainOptions
from chatgpt2.training.plan import (
    Plan,
    default_batch_tokens,
    make_plan,
    steps_in_time,
    steps_without_clock,
)
from chatgpt2.training.prime import prime, token_counts
from chatgpt2.training.run import Run, changed_versions, check_free, last_step, versions
from chatgpt2.training.samples import prompts_of, sample_replies
from chatgpt2.training.speed import measure_speed, slowest
from chatgpt2.training.trainer import DialogueTrainer
from chatgpt2.training.watch import Interruptible, Observer, Watch
from chatgpt2.vocabulary import default_vocabulary, load_vocabulary, vocabulary_hash

WINDOWS = {"tiny": 512, "small": 512, "base": 1024}
_FINAL_REPLIES = 50


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended."""

    out: Path
    steps: int
    finished: bool
    held_out: HeldOut | None
    metrics: dict[str, float]
    seconds: float


def train_dialog(options: TrainOptions, cache: Path, observer: Observer, *, resume: bool = False) -> Result:
    """Train as `options` say, or with `resume` go on with the run in `options.out`.

    Raises CorpusError, CheckpointError or ConfigError for whatever a user can put right.
    """
    device = choose_device(options.device)
    run = Run.read(options.out) if resume else None
    if options.threads:
        torch.set_num_threads(options.threads)
    if run is None:
        check_free(options.out)  # every process before it meets the others, so none finds what another made
    elif changed := changed_versions(run):
        observer.notice(f"this run began with {changed}: it will not end exactly as it would have")
    keep_freed_memory()
    start = _start(options)
    with PartialState(cpu=device == "cpu").main_process_first():  # one process tokenises, all read
        data = read_data(options, _training_codec(start, options), cache, observer)
    if run and run.data_fingerprint != data.fingerprint:
        raise ConfigError(f"--resume: the corpus is not the one that the run in {options.out} began with")
    if options.base is None:
        counts = token_counts(data.tokens, data.train, len(start.codec.vocabulary))
        prime(start.model, counts, options.seed)
    model = _trainable(start, options)
    bf16 = run.plan.bf16 if run else choose_bf16(options.precision, device)
    prepare(model, bf16=bf16, device=device)
    began = time.perf_counter()
    with explained(options.out):
        plan = run.plan if run else _plan(options, data, model, _training_codec(start, options), bf16, device)
        set_dropout(model, plan.dropout)
        trainer = _trainer(options, plan, data, start, model, device, observer)
        _run(trainer, data, observer, resume)
        return _finish(data, start, trainer, time.perf_counter() - began)


def _start(options: TrainOptions) -> Checkpoint:
    """The model before training: the base, or random weights."""
    if options.base is not None:
        return load_checkpoint(options.base)
    entries = load_vocabulary(options.vocabulary) if options.vocabulary else default_vocabulary()
    codec = Codec(entries, options.length or WINDOWS.get(options.size, 512))
    model = create_model(options.size, codec, seed=options.seed)
    return Checkpoint(model, codec, Card())


def _training_codec(start: Checkpoint, options: TrainOptions) -> Codec:
    window = options.length or start.codec.window
    if window > start.codec.window:
        raise ConfigError(f"--length {window}: the base has {start.codec.window} positions")
    if window == start.codec.window:
        return start.codec
    return Codec(start.codec.vocabulary, window, start.codec.lowercase)


def _trainable(start: Checkpoint, options: TrainOptions) -> Any:
    model: Any = start.model
    if options.lora is not None:
        assert options.base is not None
        torch.manual_seed(options.seed)
        return add_lora(model, options.lora, base=options.base, dropout=options.dropout or 0.0)
    freeze(model, options.freeze)
    return model


def _plan(options: TrainOptions, data: Data, model: Any, codec: Codec, bf16: bool, device: str) -> Plan:
    tokens = data.train_tokens
    budget = options.batch_tokens or default_batch_tokens(tokens, device)
    if options.minutes is None:
        steps, passes = steps_without_clock(options, data.tokens, data.train, budget, codec.window)
        return make_plan(options, steps, budget, bf16, passes=passes, window=codec.window)
    began = time.perf_counter()
    held = int(data.held_tokens.lengths[data.held].sum())
    plan = make_plan(options, 1000, budget, bf16, passes=1000 * budget / tokens, window=codec.window)
    for _ in range(2):
        planned = plan
        set_dropout(model, plan.dropout)
        with quiet_transformers():
            speed = slowest(
                measure_speed(model, options, plan, (data.tokens, data.train), codec.pad_id, device)
            )
        left = options.minutes * 60 - (time.perf_counter() - began)
        # An evaluation has no backward pass: a third of the arithmetic.
        evaluation = 0.0 if options.eval_every == 0 else held * speed.token_seconds / 3
        steps, evaluations = steps_in_time(left, speed.step_seconds, evaluation)
        passes = steps * budget / tokens
        plan = make_plan(
            options, steps, budget, bf16, passes=passes, window=codec.window, evaluations=evaluations
        )
        if (plan.dropout, plan.join) == (planned.dropout, planned.join):
            break  # else the number of passes asks for other ones, and those for another speed
    return plan


def _trainer(
    options: TrainOptions,
    plan: Plan,
    data: Data,
    start: Checkpoint,
    model: Any,
    device: str,
    observer: Observer,
) -> DialogueTrainer:
    held = (data.held_tokens, data.held)
    folder = options.out / "checkpoints"
    trainer = DialogueTrainer(
        model, start.codec, options, plan, (data.tokens, data.train), held, folder, device
    )
    prompts = prompts_of(*held, start.codec, options.samples)
    metrics = options.out / "metrics.jsonl"
    trainer.add_callback(
        Watch(
            trainer,
            observer,
            metrics,
            lambda: sample_replies(trainer.model, start.codec, prompts, start.banned_ids),
        )
    )
    return trainer


def _run(trainer: DialogueTrainer, data: Data, observer: Observer, resume: bool) -> None:
    out = trainer.options.out
    if trainer.is_world_process_zero() and not resume:
        out.mkdir(parents=True, exist_ok=True)
        Run(trainer.options, trainer.plan, data.fingerprint, versions()).write(out)
    saved = last_step(out) if resume else None
    try:
        with Interruptible(trainer, observer), quiet_transformers():
            trainer.train(resume_from_checkpoint=str(saved) if saved else None)
    finally:
        observer.end()


def _finish(data: Data, start: Checkpoint, trainer: DialogueTrainer, seconds: float) -> Result:
    """Evaluate once more if needed, write the checkpoint and the picture."""
    options, step = trainer.options, trainer.state.global_step
    held_out = trainer.final_held_out()
    metrics: dict[str, float] = {}
    if held_out:
        metrics = {
            "loss": held_out.loss,
            "perplexity": held_out.perplexity,
            "perplexity_per_character": held_out.perplexity_per_character,
        }
    finished = not trainer.stopping or step >= trainer.plan.steps
    result = Result(options.out, step, finished, held_out, metrics, seconds)
    if not trainer.is_world_process_zero():
        return result
    if held_out and options.samples:
        prompts = prompts_of(data.held_tokens, data.held, start.codec, _FINAL_REPLIES)
        replies = [s.reply for s in sample_replies(trainer.model, start.codec, prompts, start.banned_ids)]
        metrics |= {"distinct_2": distinct(replies, 2), "repetition": repetition(replies)}
    save_checkpoint(options.out, trainer.model, start.codec, _card(data, start, trainer, result))
    draw_curve(options.out / "metrics.jsonl", options.out / "loss.png")
    return result


def _card(data: Data, start: Checkpoint, trainer: DialogueTrainer, result: Result) -> Card:
    options = trainer.options
    training = {
        **asdict(trainer.plan),
        "step": result.steps,
        "size": options.size if options.base is None else None,
        "base": options.base,
        "tokens": trainer.tokens_seen,
        "seconds": round(trainer.seconds, 1),
        "elapsed": round(result.seconds, 1),
        "chatgpt2": chatgpt2.__version__,
    }
    return Card(
        vocabulary_hash=vocabulary_hash(start.codec.vocabulary),
        window=start.codec.window,
        learn=options.learn,
        data_fingerprint=data.fingerprint,
        training=training,
        metrics={key: round(value, 5) for key, value in result.metrics.items()},
    )


def with_corpus_paths(options: TrainOptions) -> TrainOptions:
    """The same options with absolute paths, so that a run can go on from another folder."""
    return replace(
        options,
        corpus=tuple(p.resolve() for p in options.corpus),
        eval_corpus=tuple(p.resolve() for p in options.eval_corpus),
        vocabulary=options.vocabulary.resolve() if options.vocabulary else None,
        base=str(Path(options.base).resolve())
        if options.base and Path(options.base).is_dir()
        else options.base,
    )
