"""Figures of models that judge texts: how often a class is right, how near a number is."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_MOST = 12  # classes whose confusion matrix is shown


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Of one class: `precision` of its answers and `recall` of its texts are right; `texts` are its own."""

    label: str
    precision: float
    recall: float
    f1: float
    texts: int


@dataclass(frozen=True, slots=True)
class Judged:
    """How a classifier does.

    loss       nats per text
    confusion  [true class][answered class] texts, both in the order of `labels`
    """

    loss: float
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def texts(self) -> int:
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return sum(row[n] for n, row in enumerate(self.confusion)) / max(1, self.texts)

    @property
    def f1(self) -> float:
        """The mean of the classes' F1, each counting the same; a class that occurs nowhere counts for nothing."""
        answered = map(sum, zip(*self.confusion, strict=True))
        there = [each.f1 for each, asked in zip(self.classes, answered, strict=True) if each.texts or asked]
        return sum(there) / max(1, len(there))

    @property
    def classes(self) -> tuple[ClassFigures, ...]:
        """The figures of each class."""
        return tuple(self._class(n) for n in range(len(self.labels)))

    def _class(self, number: int) -> ClassFigures:
        right = self.confusion[number][number]
        own, answered = sum(self.confusion[number]), sum(row[number] for row in self.confusion)
        return ClassFigures(
            self.labels[number],
            right / answered if answered else 0.0,
            right / own if own else 0.0,
            2 * right / (own + answered) if own + answered else 0.0,
            own,
        )

    @property
    def metrics(self) -> dict[str, float]:
        return {"loss": self.loss, "accuracy": self.accuracy, "f1": self.f1}

    @property
    def headline(self) -> tuple[str, str]:
        return "accuracy", f"{self.accuracy:.1%}"

    @property
    def lines(self) -> Sequence[str]:
        summary = (
            f"accuracy {self.accuracy:.2%}, F1 {self.f1:.4f} (mean of classes), loss {self.loss:.4f} per text"
        )
        return (summary, *(self._matrix() if len(self.labels) <= _MOST else ()))

    def _matrix(self) -> Iterator[str]:
        names = [_short(label) for label in self.labels]
        cells = [
            ["", *names],
            *([name, *map(str, row)] for name, row in zip(names, self.confusion, strict=True)),
        ]
        widths = [max(map(_columns, column)) for column in zip(*cells, strict=True)]
        yield "texts of each class (down) and what they were taken for (across):"
        for row in cells:
            yield "  " + "  ".join(" " * (w - _columns(c)) + c for c, w in zip(row, widths, strict=True))


def _short(label: str) -> str:
    return label if len(label) <= 12 else label[:11] + "…"


def _columns(text: str) -> int:
    """Columns of a terminal: a Han character takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


@dataclass(frozen=True, slots=True)
class Fitted:
    """How near the numbers are that a model gives texts.

    loss         mean squared error
    mae          mean absolute error
    r2           share of the variance that is explained; below 0: worse than always saying the mean
    correlation  Pearson's
    """

    loss: float
    mae: float
    r2: float
    correlation: float
    texts: int

    @property
    def metrics(self) -> dict[str, float]:
        return {"loss": self.loss, "mae": self.mae, "r2": self.r2, "correlation": self.correlation}

    @property
    def headline(self) -> tuple[str, str]:
        return "R²", f"{self.r2:.3f}"

    @property
    def lines(self) -> Sequence[str]:
        return (
            f"mean absolute error {self.mae:.4f}, root mean square {math.sqrt(self.loss):.4f}, R² {self.r2:.4f}, "
            f"correlation {self.correlation:.4f}",
        )
