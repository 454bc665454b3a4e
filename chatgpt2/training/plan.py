"""A run's numbers: those asked for, and for the rest what suits the data and the machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chatgpt2.batches import Deal
from chatgpt2.errors import ConfigError
from chatgpt2.material import Material, count_batches
from chatgpt2.training.options import RunOptions

# Tokens that a model from scratch should see by default, and that a fine-tuned one should.
_SCRATCH_TOKENS, _TUNE_TOKENS = 6_000_000, 2_000_000
_MANY = 4.5
"""Passes, counted by places: a pass of the tokens is a little more than one, by its padding."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The fixed numbers of one run; kept in the checkpoint, so a resumed run follows the same plan."""

    steps: int
    batch_tokens: int
    warmup: int
    lr: float
    eval_every: int
    save_every: int
    log_every: int
    bf16: bool
    dropout: float
    join: float = 0.0
    window: int = 0

    def deal(self, seed: int) -> Deal:
        """How its batches are made."""
        return Deal(self.batch_tokens, seed, self.join, self.window)


def default_batch_tokens(tokens: int, device: str) -> int:
    """Places in a step: 1,024 on a CPU (measured: larger steps learn less in the same time), 16,384 on a
    GPU; less for a corpus that would then have fewer than eight steps an epoch."""
    most = 1024 if device == "cpu" else 16_384
    return max(64, min(most, tokens // 8))


def default_dropout(passes: float, many: float = 0.1) -> float:
    """`many` when the corpus is seen more than four times; none below, where it only costs."""
    return many if passes > _MANY else 0.0


def default_join(passes: float) -> float:
    """Three in ten dialogues follow another one when the corpus is seen more than four times: a model that
    knows each by heart must still answer when the subject changes."""
    return 0.3 if passes > _MANY else 0.0


def default_epochs(tokens: int, tuning: bool) -> float:
    """Passes over the corpus when nothing is asked for: at least 3 (2 when tuning), at most 40 (10)."""
    wanted = (_TUNE_TOKENS if tuning else _SCRATCH_TOKENS) / max(1, tokens)
    return float(min(max(round(wanted), 2 if tuning else 3), 10 if tuning else 40))


def default_lr(options: RunOptions) -> float:
    """The peak learning rate of the block matrices, see docs/benchmarks.md for how they were found."""
    if options.usual_lr is not None:
        return options.usual_lr
    if options.lora is not None:
        return 1e-3
    if options.base is not None:
        return 5e-4 if options.optimizer == "muon" else 2e-4
    return 3e-3 if options.optimizer == "muon" else 1e-3


def steps_without_clock(
    options: RunOptions, material: Material, budget: int, window: int
) -> tuple[int, float]:
    """The number of steps when --minutes does not decide it, and of passes over the corpus."""
    total = material.tokens
    if options.steps is not None:
        return options.steps, options.steps * budget / max(1, total)
    epochs = options.epochs or default_epochs(total, options.base is not None)
    join = default_join(epochs) if options.joined is None else options.joined
    steps = count_batches(material, Deal(budget, options.seed, join, window), epochs)
    # A handful of dialogues makes an epoch of one step: see them often enough to learn them.
    return (steps if options.epochs else max(steps, 60)), epochs


def steps_in_time(seconds: float, step_seconds: float, evaluation_seconds: float) -> tuple[int, int]:
    """Steps that fit into `seconds`, and evaluations: ten, or as many as take a tenth of the time."""
    evaluations = 10
    if evaluation_seconds > 0:
        evaluations = min(10, max(1, int(0.1 * seconds / evaluation_seconds)))
    left = seconds - evaluations * evaluation_seconds
    return max(1, math.floor(left / step_seconds)), evaluations


def make_plan(
    options: RunOptions,
    steps: int,
    budget: int,
    bf16: bool,
    *,
    passes: float = 1.0,
    window: int = 512,
    evaluations: int = 10,
) -> Plan:
    """The plan for `steps` steps, in which the corpus is seen `passes` times."""
    lr = options.lr or default_lr(options)
    if options.min_lr > lr:
        raise ConfigError(f"--min-lr {options.min_lr}: it must not be above the learning rate, {lr:g}")
    every = options.eval_every if options.eval_every is not None else max(1, math.ceil(steps / evaluations))
    warmup = options.warmup if options.warmup is not None else min(200, max(1, steps // 20))
    return Plan(
        steps=steps,
        batch_tokens=budget,
        warmup=min(warmup, steps),
        lr=lr,
        eval_every=every,
        save_every=options.save_every or max(1, math.ceil(steps / 10)),
        log_every=max(1, steps // 500),
        bf16=bf16,
        dropout=default_dropout(passes, options.dropout_of_many)
        if options.dropout is None
        else options.dropout,
        join=default_join(passes) if options.joined is None else options.joined,
        window=window,
    )
