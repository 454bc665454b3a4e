"""The learning rate over a run: a linear warm-up, then linear, cosine or constant."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, *, steps: int, warmup: int, shape: str, floor: float) -> float:
    """The factor on the peak learning rate at `step` (0-based) of `steps`; `floor` is where it ends."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if shape == "constant":
        return 1.0
    left = 0.5 * (1 + math.cos(math.pi * done)) if shape == "cosine" else 1 - done
    return floor + (1 - floor) * left
