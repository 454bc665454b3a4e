"""What a step computes from labelled texts, for the heads that judge, and how they are measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from chatgpt2.evaluation import Fitted, Judged
from chatgpt2.heads import Head
from chatgpt2.training.objective import adapt, states


def prepare(model: Any, head: Head, bf16: bool, device: str) -> Any:
    """Make `model`, which has `head`, compute its training loss when called with a batch; returns the GPT-2 in it."""
    inner = adapt(model, _forward, bf16, device)
    inner.judges_with = head
    return inner


def judge(model: Any, states: Tensor) -> Tensor:
    """[n, classes] logits, or [n] numbers, of `states` [n, d]: what the backbone makes of each text's last token."""
    if model.judges_with == "value":
        values: Tensor = model.value_head(states).squeeze(-1)
        return values
    found: Tensor = model.score(states)
    return found if model.judges_with == "classification" else found.squeeze(-1)


def _states(model: Any, inputs: dict[str, Any]) -> Tensor:
    kept: Tensor | None = inputs.get("states")
    return states(model, inputs["ids"], inputs["places"]) if kept is None else kept


def _loss(model: Any, judged: Tensor, labels: Tensor) -> Tensor:
    """Summed over the texts: nats of the right class, or the squared error."""
    if model.judges_with == "classification":
        return functional.cross_entropy(judged, labels, reduction="sum")
    return functional.mse_loss(judged, labels, reduction="sum")


def _forward(self: Any, labels: Tensor, **inputs: Tensor) -> Tensor:
    return _loss(self, judge(self, _states(self, inputs)), labels)


def _judged(model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """What the model says of a batch, and the loss of it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = judge(inner, _states(inner, inputs))
    return found, _loss(inner, found, inputs["labels"])


@dataclass(frozen=True, slots=True)
class Classes:
    """Sums: the loss, and how many texts of each class were taken for which."""

    labels: Sequence[str]

    @property
    def size(self) -> int:
        return 1 + len(self.labels) ** 2

    def sums(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        found, loss = _judged(model, inputs)
        count = len(self.labels)
        pairs = inputs["labels"] * count + found.argmax(-1)
        return torch.cat([loss.reshape(1).cpu(), torch.bincount(pairs, minlength=count**2).cpu()]).double()

    def figures(self, sums: Tensor, characters: int) -> Judged:
        table = sums[1:].reshape(len(self.labels), -1).long().tolist()
        total = max(1, sum(map(sum, table)))
        return Judged(float(sums[0]) / total, tuple(self.labels), tuple(map(tuple, table)))


class Numbers:
    """Sums over the texts, from which all figures of a regression come."""

    size = 8

    def sums(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """[8]: texts, squared error, absolute error, labels, labels², numbers, numbers², and their products."""
        found = _judged(model, inputs)[0].double().cpu()
        labels = inputs["labels"].double().cpu()
        off = found - labels
        return torch.stack(
            [
                torch.tensor(float(len(labels)), dtype=torch.float64),
                *(off.square().sum(), off.abs().sum()),
                *(labels.sum(), labels.square().sum(), found.sum(), found.square().sum()),
                (found * labels).sum(),
            ]
        )

    def figures(self, sums: Tensor, characters: int) -> Fitted:
        n, squared, absolute, y, yy, p, pp, py = sums.tolist()
        spread, own = yy - y * y / n, pp - p * p / n
        both = math.sqrt(max(0.0, spread * own))
        return Fitted(
            squared / n,
            absolute / n,
            1 - squared / spread if spread > 0 else 0.0,
            (py - p * y / n) / both if both > 0 else 0.0,
            int(n),
        )
