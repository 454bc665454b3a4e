"""What a model was measured to be, whatever it is for: figures that a run logs and shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Measured(Protocol):
    """Figures of held-out data. A lower `loss` is better."""

    @property
    def loss(self) -> float: ...

    @property
    def metrics(self) -> dict[str, float]:
        """All figures by name, the loss among them."""

    @property
    def headline(self) -> tuple[str, str]:
        """The name of the figure that people look at beside the loss, and its value."""

    @property
    def lines(self) -> Sequence[str]:
        """The whole in words, for the end of a run."""
