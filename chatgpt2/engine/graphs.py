"""The decoding step as CUDA graphs.

A step of a small model is some hundred kernels of a few microseconds each, and to launch them one by one takes longer
than to run them. A graph launches all of them at once, but its shapes and addresses are fixed: so rows and
positions are rounded up, and each pair of them gets a graph, recorded when it is needed for the first time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from chatgpt2.engine.gpt2 import Cache, Gpt2

_POSITIONS = 64  # the shortest graph
_WARM_UP = 2  # runs before recording: libraries set themselves up in the first

Run = Callable[[], Tensor]
Record = Callable[[Run], Run]


class Graphs:
    """The next logits of a cache's rows, from recorded steps.

    `cache` must have all its rows and positions: what is recorded holds its addresses. Rows that are rounded up to
    are unused ones; what a step writes there is overwritten by whoever gets them.
    """

    def __init__(self, model: Gpt2, cache: Cache, record: Record) -> None:
        self._model, self._cache, self._record = model, cache, record
        self._rows, self._positions = cache.ids.shape
        self._places = torch.zeros(self._rows, 1, dtype=torch.long, device=model.device)
        self._steps: dict[tuple[int, int], Run] = {}

    def next_logits(self, counts: Sequence[int]) -> Tensor:
        """As `Gpt2.next_logits`. The result is overwritten by the next call."""
        shape = _rounded(len(counts), 1, self._rows), _rounded(max(counts), _POSITIONS, self._positions)
        places = [count - 1 for count in counts] + [0] * (shape[0] - len(counts))
        self._places[: shape[0], 0] = torch.tensor(places, device=self._places.device)
        step = self._steps.get(shape)
        if step is None:
            rows, longest = shape
            run = partial(self._model.logits_at, self._cache, self._places[:rows], longest)
            step = self._steps[shape] = self._record(run)
        return step()[: len(counts)]


def _rounded(number: int, least: int, most: int) -> int:
    """Up to `least` times a power of two, or `most`."""
    while least < number:
        least *= 2
    return min(least, most)


def recorder(device: torch.device) -> Record | None:
    """How steps are recorded on the device; None where nothing is won by it."""
    return partial(_record, device, torch.cuda.graph_pool_handle()) if device.type == "cuda" else None


def _record(device: torch.device, pool: Any, run: Run) -> Run:
    """A function that runs what `run` ran. Graphs of one pool share memory, as only one runs at a time."""
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            # Another thread may load a model meanwhile.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                result = run()
        except RuntimeError as error:
            logging.getLogger(__name__).warning("no CUDA graph of the step, replies are slower: %s", error)
            return run

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay
