"""Figures of held-out data from sums: over batches and over processes they simply add up."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from chatgpt2.evaluation import HeldOut, Measured


class Measure(Protocol):
    """What is summed over the held-out data, and what figures come of it."""

    @property
    def size(self) -> int:
        """How many sums there are."""

    def sums(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """[size] of one batch, as the model is called with it."""

    def figures(self, sums: Tensor, characters: int) -> Measured:
        """The figures of data that has so many characters."""


class NextToken:
    """How likely a model finds text."""

    size = 2

    def sums(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """[2]: nats, labels."""
        return torch.tensor([model(**inputs).item(), len(inputs["labels"])], dtype=torch.float64)

    def figures(self, sums: Tensor, characters: int) -> HeldOut:
        return HeldOut.of(float(sums[0]), int(sums[1]), characters)
