"""Counters and histograms for Prometheus in plain numbers: only the event loop's thread counts, so no lock is needed.

Those of prometheus_client take a lock for each number; counting a turn took as long as reading its history.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BOUNDS = [*map(str, map(float, _SECONDS)), "+Inf"]


class Counters(Collector):
    """`values[labels]` only grow."""

    def __init__(self, registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> None:
        self.values: defaultdict[Labels, int] = defaultdict(int)
        self._described = name, meaning, labels
        if not labels:
            self.values[()] = 0
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        name, meaning, labels = self._described
        family = CounterMetricFamily(name, meaning, labels=labels)
        for given, value in self.values.items():
            family.add_metric(given, value)
        yield family


class Spread:
    """How many seconds something took, each time."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * len(_BOUNDS), 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds


class Spreads(Collector):
    """A histogram for each of `values[labels]`."""

    def __init__(self, registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> None:
        self.values: defaultdict[Labels, Spread] = defaultdict(Spread)
        self._described = name, meaning, labels
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        name, meaning, labels = self._described
        family = HistogramMetricFamily(name, meaning, labels=labels)
        for given, spread in self.values.items():
            buckets = list(zip(_BOUNDS, accumulate(spread.counts), strict=True))
            family.add_metric(given, buckets, spread.total)
        yield family
