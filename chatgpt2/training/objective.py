"""The dialogue objective: what a step of training computes from a batch."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from chatgpt2.training.loss import linear_cross_entropy


def _forward(self: GPT2LMHeadModel, ids: Tensor, places: Tensor, labels: Tensor) -> Tensor:
    """The summed loss of predicting `labels` [n] from `places` [n] of `ids` [rows, length]."""
    device, bf16 = ids.device.type, bool(self.learn_in_bf16)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
        hidden = self.transformer(input_ids=ids, use_cache=False).last_hidden_state  # [rows, length, d]
    wanted = hidden.flatten(0, 1).index_select(0, places)  # [n, d]
    dtype = torch.bfloat16 if bf16 else torch.float32
    return linear_cross_entropy(wanted.float(), self.lm_head.weight, labels, dtype)


def prepare(model: Any, *, bf16: bool, device: str) -> None:
    """Make `model` (a GPT-2, or peft around one) compute its training loss when called with a batch.

    The forward of this one object is replaced, not wrapped, so that DDP sees an ordinary module and the
    saved weights keep their names. GELU's tanh form is the same function as GPT-2's `gelu_new` in one
    kernel instead of eight. On a CPU the plain attention is faster than the fused one at a dialogue's
    length.
    """
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.learn_in_bf16 = bf16
    inner.forward = MethodType(_forward, inner)
    for block in inner.transformer.h:
        if inner.config.activation_function == "gelu_new":
            block.mlp.act = nn.GELU(approximate="tanh")
    if device == "cpu":
        inner.set_attn_implementation("eager")
