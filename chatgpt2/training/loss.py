"""The language-model loss, computed only where there is something to learn.

The head of a small model is half of its arithmetic and nearly all of its memory traffic: [tokens, vocabulary]
logits are written, read and freed several times by the plain way. Here the gradients are worked out chunk by
chunk in the forward pass, while a chunk of logits is still in the cache, and the logits are never kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK_BYTES = 16 << 20


class _LinearCrossEntropy(torch.autograd.Function):
    """sum over rows of -log softmax(hidden @ weightᵀ)[target]; both gradients are ready after forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        rows, vocabulary = hidden.shape[0], weight.shape[0]
        chunk = max(1, _CHUNK_BYTES // (4 * vocabulary))
        narrow_weight = weight.to(dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        total = torch.zeros(
            (), dtype=torch.float64 if hidden.device.type == "cpu" else torch.float32, device=hidden.device
        )
        for start in range(0, rows, chunk):
            part = hidden[start : start + chunk].to(dtype)  # [chunk, d]
            target = targets[start : start + chunk, None]  # [chunk, 1]
            logits = (part @ narrow_weight.T).float()  # [chunk, vocabulary]
            lse = logits.logsumexp(dim=-1, keepdim=True)
            total += (lse - logits.gather(1, target)).sum()
            gradient = logits.sub_(lse).exp_().scatter_add_(1, target, -torch.ones_like(lse)).to(dtype)
            grad_hidden[start : start + chunk] = gradient @ narrow_weight
            grad_weight += gradient.T @ part
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden.mul_(grads[0]), grad_weight.mul_(grads[0]), None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """The summed cross-entropy of `hidden` [rows, d] under the head `weight` [vocabulary, d].

    `targets` [rows] are token ids; the products run in `dtype`, the softmax in float32.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, targets, dtype)  # type: ignore[no-any-return, no-untyped-call]
