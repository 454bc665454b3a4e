"""What a step of training computes from a batch: the loss of the next token."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from chatgpt2.training.loss import linear_cross_entropy


def states(model: Any, ids: Tensor, places: Tensor) -> Tensor:
    """[n, d] fp32, what the backbone makes of `ids` [rows, length] at `places` [n] of the flattened rows.

    A frozen backbone keeps no activations, and its dropout is off: it is to say the same of a text each time.
    """
    if model.backbone_is_frozen:
        model.transformer.eval()
    learns = torch.is_grad_enabled() and not model.backbone_is_frozen
    with (
        torch.set_grad_enabled(learns),
        torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=model.learn_in_bf16),
    ):
        hidden = model.transformer(input_ids=ids, use_cache=False).last_hidden_state  # [rows, length, d]
        wanted: Tensor = hidden.flatten(0, 1).index_select(0, places)
    return wanted.float()


def _forward(self: GPT2LMHeadModel, ids: Tensor, places: Tensor, labels: Tensor) -> Tensor:
    """The summed loss of predicting `labels` [n] from `places` [n] of `ids` [rows, length]."""
    dtype = torch.bfloat16 if self.learn_in_bf16 else torch.float32
    return linear_cross_entropy(states(self, ids, places), self.lm_head.weight, labels, dtype)


def prepare(model: Any, bf16: bool, device: str) -> None:
    """Make `model` (a GPT-2, or peft around one) compute its training loss when called with a batch."""
    adapt(model, _forward, bf16, device)


def adapt(model: Any, forward: Callable[..., Tensor], bf16: bool, device: str) -> Any:
    """Give `model` another `forward`, and return the GPT-2 in it.

    The forward of this one object is replaced, not wrapped, so that DDP sees an ordinary module and the
    saved weights keep their names. GELU's tanh form is the same function as GPT-2's `gelu_new` in one
    kernel instead of eight. On a CPU the plain attention is faster than the fused one at a dialogue's
    length.
    """
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.learn_in_bf16 = bf16
    inner.backbone_is_frozen = not any(each.requires_grad for each in inner.transformer.parameters())
    inner.forward = MethodType(forward, inner)
    for block in inner.transformer.h:
        if inner.config.activation_function == "gelu_new":
            block.mlp.act = nn.GELU(approximate="tanh")
    if device == "cpu":
        inner.set_attn_implementation("eager")
    return inner
