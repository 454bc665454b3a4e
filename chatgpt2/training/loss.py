"""The language-model loss, computed only where there is something to learn.

The head of a small model is half of its arithmetic and nearly all of its memory traffic: [tokens, vocabulary]
logits are written, read and freed several times by the plain way. Here the gradients are worked out chunk by
chunk in the forward pass, while a chunk of logits is still in the cache, and the logits are never kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK_BYTES = 16 << 20
_ROWS = 16
"""Rows are padded to a multiple of this: a CPU prepares (and keeps) a kernel for every shape it meets."""


class _LinearCrossEntropy(torch.autograd.Function):
    """sum over rows of -log softmax(hidden @ weightᵀ)[target]; both gradients are ready after forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        rows, vocabulary = hidden.shape[0], weight.shape[0]
        chunk = max(1, _CHUNK_BYTES // (4 * vocabulary * _ROWS)) * _ROWS
        hidden = functional.pad(hidden, (0, 0, 0, -rows % _ROWS))
        targets = functional.pad(targets, (0, -rows % _ROWS))
        narrow = weight.to(dtype)
        learns_hidden, learns_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if learns_hidden else None
        grad_weight = torch.zeros_like(weight) if learns_weight else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, rows, chunk):
            real = min(chunk, rows - start)
            part = hidden[start : start + chunk].to(dtype)  # [chunk, d]
            target = targets[start : start + chunk, None]  # [chunk, 1]
            logits = (part @ narrow.T).float()  # [chunk, vocabulary]
            lse = logits.logsumexp(dim=-1, keepdim=True)
            total += (lse - logits.gather(1, target))[:real].sum()
            if not (learns_hidden or learns_weight):
                continue
            probabilities = logits.sub_(lse).exp_()
            gradient = probabilities.scatter_add_(1, target, -torch.ones_like(lse)).to(dtype)
            gradient[real:] = 0
            if grad_hidden is not None:
                grad_hidden[start : start + chunk] = gradient @ narrow
            if grad_weight is not None:
                grad_weight += gradient.T @ part
        ctx.save_for_backward(None if grad_hidden is None else grad_hidden[:rows], grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        scaled = [None if g is None else g.mul_(grads[0]) for g in ctx.saved_tensors]
        return scaled[0], scaled[1], None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """The summed cross-entropy of `hidden` [rows, d] under the head `weight` [vocabulary, d].

    `targets` [rows] are token ids; the products run in `dtype`, the softmax in float32.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, targets, dtype)  # type: ignore[no-any-return, no-untyped-call]
