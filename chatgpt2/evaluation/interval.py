"""How far a figure can be trusted: 95 % intervals from the data themselves, with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from chatgpt2.errors import ConfigError

Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64]
Item = TypeVar("Item")

RESAMPLES = 1000
_GROUPS = 20
_NORMAL = 1.959964  # of the standard error, either side, for 95 %


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % interval. `low` and `high` are None where there is too little to tell."""

    value: float
    low: float | None = None
    high: float | None = None


def ratio(
    above: Sequence[float] | Numbers,
    below: Sequence[float] | Numbers,
    of: Callable[[float], float] = float,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figure:
    """`of(sum(above) / sum(below))`, where each pair is one dialogue's share of the two sums.

    The interval is the percentile bootstrap over dialogues, not tokens: those of one dialogue go together.
    `of` must be monotonic. Raises ConfigError when there is nothing below the line.
    """
    numbers, sizes = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if not sizes.sum() > 0:
        raise ConfigError("the held-out text has nothing to predict: nothing can be evaluated")
    value = of(float(numbers.sum() / sizes.sum()))
    if len(sizes) < 2:
        return Figure(value)
    drawn = np.array(
        [numbers[row].sum() / max(sizes[row].sum(), 1e-9) for row in _draws(len(sizes), resamples, seed)]
    )
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Figure(value, of(float(low)), of(float(high)))


def mean(values: Sequence[float] | Numbers, *, resamples: int = RESAMPLES, seed: int = 0) -> Figure:
    """The mean of one number per reply, with its bootstrap interval."""
    return ratio(values, np.ones(len(values)), resamples=resamples, seed=seed)


def jackknife(items: Sequence[Item], of: Callable[[Sequence[Item]], float], seed: int = 0) -> Figure:
    """`of(items)` for a figure of the whole set that a resample with its repeats would distort, as distinct-n.

    The interval is normal, from the delete-a-group jackknife: every group leaves out as many items, so they all
    differ from the whole in the same way.
    """
    value = of(items)
    groups = min(_GROUPS, len(items))
    if groups < 2:
        return Figure(value)
    order = np.random.default_rng(seed).permutation(len(items))
    without = np.array(
        [of([items[i] for i in np.delete(order, slice(g, None, groups)).tolist()]) for g in range(groups)]
    )
    error = float(np.sqrt((groups - 1) / groups * ((without - without.mean()) ** 2).sum()))
    return Figure(value, value - _NORMAL * error, value + _NORMAL * error)


def _draws(size: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Row after row, so that the memory does not grow with `resamples`."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(0, size, size)
