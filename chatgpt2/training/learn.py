"""A run, whatever is learned: plan, train, evaluate, save; or go on with one that was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import PartialState

import chatgpt2
from chatgpt2.checkpoint import (
    AnyCodec,
    Card,
    Checkpoint,
    add_lora,
    freeze,
    quiet_transformers,
    save_checkpoint,
    set_dropout,
)
from chatgpt2.device import choose_bf16, choose_device
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import Measured
from chatgpt2.material import Material
from chatgpt2.training.curve import draw_curve
from chatgpt2.training.faults import explained
from chatgpt2.training.machine import keep_freed_memory
from chatgpt2.training.measure import Measure, NextToken
from chatgpt2.training.objective import prepare
from chatgpt2.training.options import RunOptions
from chatgpt2.training.plan import (
    Plan,
    default_batch_tokens,
    make_plan,
    steps_in_time,
    steps_without_clock,
)
from chatgpt2.training.prime import prime
from chatgpt2.training.run import (
    Run,
    changed_plan,
    changed_versions,
    check_free,
    goes_on,
    last_step,
    versions,
)
from chatgpt2.training.speed import measure_speed, slowest
from chatgpt2.training.trainer import TextTrainer
from chatgpt2.training.watch import Interruptible, Observer, Sample, Watch
from chatgpt2.vocabulary import vocabulary_hash

M = TypeVar("M", bound=Measured)
"""What a model is measured to be: HeldOut where it learns to go on, Judged or Fitted where it judges."""


@dataclass(frozen=True)
class Task:
    """What one objective hands to a run.

    start        the model before training, and its codec
    window       tokens of the longest row
    fingerprint  names the content of the data; a run goes on only with the same
    samples      what the model writes now, for the eyes
    figures      of what it writes when it has learned
    card         what the card says of this objective
    measure      how it is measured on held-out data
    prepare      makes the model compute its training loss when called with a batch: (model, bf16, device)
    primed       a new model may begin at how often each token occurs
    plain        the model to be saved
    finish       is told how the run ended, when all is written
    """

    start: Checkpoint[AnyCodec]
    window: int
    learned: Material
    held: Material
    fingerprint: str
    samples: Callable[[Any], list[Sample]]
    figures: Callable[[Any], dict[str, float]] = lambda model: {}
    test: Material | None = None
    card: dict[str, Any] = field(default_factory=dict)
    measure: Measure = field(default_factory=NextToken)
    prepare: Callable[[Any, bool, str], None] = prepare
    primed: bool = True
    plain: Callable[[Any], Any] = lambda model: model
    finish: Callable[[Result[Any]], None] = lambda result: None


@dataclass(frozen=True, slots=True)
class Result(Generic[M]):
    """How a run ended."""

    out: Path
    steps: int
    finished: bool
    held_out: M | None
    metrics: dict[str, float]
    seconds: float
    tested: M | None = None


def learn(
    options: RunOptions, task_of: Callable[[str], Task], observer: Observer, *, resume: bool = False
) -> Result[Any]:
    """Train as `options` say, or with `resume` go on with the run in `options.out`.

    task_of  reads the data and opens the model, for a device; one process does it before the others

    Raises CorpusError, CheckpointError or ConfigError for whatever a user can put right.
    """
    device = choose_device(options.device)
    run = Run.read(options.out) if resume else None
    if options.threads:
        torch.set_num_threads(options.threads)
    if run is None:
        check_free(options.out)  # every process before it meets the others, so none finds what another made
    else:
        run = _again(run, options, device, observer)
    keep_freed_memory()
    with PartialState(cpu=device == "cpu").main_process_first():  # one process tokenises, all read
        task = task_of(device)
    if run and run.data_fingerprint != task.fingerprint:
        raise ConfigError(
            f"--resume: the corpus is not the one that the run in {options.out} began with: restore its files, or "
            "train on the new ones in another --out"
        )
    if options.base is None and task.primed:
        counts = task.learned.counts(len(task.start.codec.vocabulary))
        prime(task.start.model, counts, options.seed)
    model = _trainable(task.start, options)
    bf16 = run.plan.bf16 if run else choose_bf16(options.precision, device)
    task.prepare(model, bf16, device)
    began = time.perf_counter()
    with explained(options.out):
        plan = run.plan if run else _plan(options, task, model, bf16, device)
        set_dropout(model, plan.dropout)
        trainer = _trainer(options, plan, task, model, device, observer)
        _run(trainer, task, observer, run)
        return _finish(task, trainer, time.perf_counter() - began)


def _again(run: Run, options: RunOptions, device: str, observer: Observer) -> Run:
    """The run as it goes on with `options`."""
    if changed := changed_versions(run):
        observer.notice(f"this run began with {changed}: it will not end exactly as it would have")
    again = goes_on(run, options, device)
    if changed := changed_plan(run.plan, again.plan):
        observer.notice(f"from here on with {changed}: it will end otherwise than it would have")
    return again


def _trainable(start: Checkpoint[AnyCodec], options: RunOptions) -> Any:
    model: Any = start.model
    if options.lora is not None:
        assert options.base is not None
        torch.manual_seed(options.seed)
        dropout, new = options.dropout or 0.0, options.new_modules
        return add_lora(model, options.lora, base=options.base, dropout=dropout, whole=new)
    freeze(model, options.freeze)
    if options.frozen:
        model.transformer.requires_grad_(False)
    return model


def _plan(options: RunOptions, task: Task, model: Any, bf16: bool, device: str) -> Plan:
    learned, window = task.learned, task.window
    tokens = learned.tokens
    budget = options.batch_tokens or default_batch_tokens(tokens, device)
    if options.minutes is None:
        steps, passes = steps_without_clock(options, learned, budget, window)
        return make_plan(options, steps, budget, bf16, passes=passes, window=window)
    began = time.perf_counter()
    plan = make_plan(options, 1000, budget, bf16, passes=1000 * budget / tokens, window=window)
    for _ in range(2):
        planned = plan
        set_dropout(model, plan.dropout)
        with quiet_transformers():
            speed = slowest(measure_speed(model, options, plan, learned, device))
        left = options.minutes * 60 - (time.perf_counter() - began)
        # An evaluation has no backward pass: a third of the arithmetic.
        evaluation = 0.0 if options.eval_every == 0 else task.held.tokens * speed.token_seconds / 3
        steps, evaluations = steps_in_time(left, speed.step_seconds, evaluation)
        passes = steps * budget / tokens
        plan = make_plan(options, steps, budget, bf16, passes=passes, window=window, evaluations=evaluations)
        if (plan.dropout, plan.join) == (planned.dropout, planned.join):
            break  # else the number of passes asks for other ones, and those for another speed
    return plan


def _trainer(
    options: RunOptions, plan: Plan, task: Task, model: Any, device: str, observer: Observer
) -> TextTrainer:
    folder = options.out / "checkpoints"
    trainer = TextTrainer(model, options, plan, task.learned, task.held, folder, device, task.measure)
    trainer.shown = task.start.codec.decode
    metrics = options.out / "metrics.jsonl"
    trainer.add_callback(Watch(trainer, observer, metrics, lambda: task.samples(trainer.model)))
    return trainer


def _run(trainer: TextTrainer, task: Task, observer: Observer, begun: Run | None) -> None:
    """Train, from the last saved step of the run that was `begun` before."""
    out = trainer.options.out
    if trainer.is_world_process_zero():
        out.mkdir(parents=True, exist_ok=True)
        (begun or Run(trainer.options, trainer.plan, task.fingerprint, versions())).write(out)
    saved = last_step(out) if begun else None
    try:
        with Interruptible(trainer, observer), quiet_transformers():
            trainer.train(resume_from_checkpoint=str(saved) if saved else None)
    finally:
        observer.end()


def _finish(task: Task, trainer: TextTrainer, seconds: float) -> Result[Any]:
    """Evaluate once more if needed, write the checkpoint and the picture."""
    options, step = trainer.options, trainer.state.global_step
    held_out = trainer.final_held_out()
    metrics = _metrics("", held_out) if held_out else {}
    finished = not trainer.stopping or step >= trainer.plan.steps
    tested = trainer.measured(task.test) if task.test is not None and finished else None
    if tested:
        metrics |= _metrics("test_", tested)
    result = Result(options.out, step, finished, held_out, metrics, seconds, tested)
    if not trainer.is_world_process_zero():
        return result
    if held_out and options.samples:
        metrics |= task.figures(trainer.model)
    save_checkpoint(options.out, task.plain(trainer.model), task.start.codec, _card(task, trainer, result))
    draw_curve(options.out / "metrics.jsonl", options.out / "loss.png")
    task.finish(result)
    return result


def _metrics(prefix: str, figures: Measured) -> dict[str, float]:
    return {prefix + name: value for name, value in figures.metrics.items()}


def _card(task: Task, trainer: TextTrainer, result: Result[Any]) -> Card:
    options = trainer.options
    training = {
        **asdict(trainer.plan),
        "step": result.steps,
        "size": options.size if options.base is None else None,
        "base": options.base,
        "hub": options.hub if options.base else None,
        "tokens": trainer.tokens_seen,
        "seconds": round(trainer.seconds, 1),
        "elapsed": round(result.seconds, 1),
        "chatgpt2": chatgpt2.__version__,
    }
    return Card(
        vocabulary_hash=vocabulary_hash(task.start.codec.vocabulary),
        window=task.start.codec.window,
        data_fingerprint=task.fingerprint,
        training=training,
        metrics={key: round(value, 5) for key, value in result.metrics.items()},
        **task.card,
    )
