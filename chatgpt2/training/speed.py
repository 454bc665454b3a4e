"""How fast a step is here, measured before a run of --minutes is planned."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from accelerate import PartialState

from chatgpt2.batches import Portion
from chatgpt2.material import BatchStream, Material
from chatgpt2.training.optimizer import MuonAdamW, parameter_groups
from chatgpt2.training.options import RunOptions
from chatgpt2.training.plan import Plan

_LEAST = 6


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds for a step and for a token of it."""

    step_seconds: float
    token_seconds: float


def measure_speed(
    model: Any,
    options: RunOptions,
    plan: Plan,
    train: Material,
    device: str,
) -> Speed:
    """Time real steps on the run's own batches, for 3 % of the minutes but at most 10 seconds, and put
    the weights back.

    The first step of a shape is slow (a CPU prepares its kernels) and the others are not; over a whole run
    those count, so the time of a step is the median.
    """
    budget = min(10.0, (options.minutes or 1.0) * 60 * 0.03)
    model.to(device).train()
    kept = copy.deepcopy(model.state_dict())
    groups = parameter_groups(model, options.optimizer, plan.lr, bf16=plan.bf16)
    optimizer = MuonAdamW(groups, lr=plan.lr)
    process = PartialState()
    stream = BatchStream(
        train,
        plan.deal(options.seed),
        steps=1000,
        rank=process.process_index,
        world=process.num_processes,
    )
    seconds: list[float] = []
    seen = 0
    began = time.perf_counter()
    for rows in stream:
        batch = train.__getitems__(rows)
        start = time.perf_counter()
        _step(model, optimizer, batch, device)
        seconds.append(time.perf_counter() - start)
        seen += batch.tokens
        if len(seconds) >= _LEAST and time.perf_counter() - began > budget:
            break
    model.load_state_dict(kept)
    step = median(seconds)
    return Speed(step, step * len(seconds) / seen)


def _step(model: Any, optimizer: MuonAdamW, batch: Portion, device: str) -> None:
    """What the trainer does with a batch."""
    inputs = {name: each.to(device) for name, each in batch.inputs.items()}
    (loss := model(**inputs)).div(max(1, len(inputs["labels"]))).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    loss.item()  # waits for a GPU


def slowest(speed: Speed) -> Speed:
    """The speed of the slowest process: all must plan the same steps."""
    if PartialState().num_processes == 1:
        return speed
    both = torch.tensor([speed.step_seconds, speed.token_seconds], dtype=torch.float64)
    both = both.to(PartialState().device)
    torch.distributed.all_reduce(both, op=torch.distributed.ReduceOp.MAX)
    return Speed(float(both[0]), float(both[1]))
