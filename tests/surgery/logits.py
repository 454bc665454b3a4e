"""What a model makes of some ids, as transformers computes it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from chatgpt2.quiet import quiet_transformers

IDS = torch.tensor([[2, 5, 6, 7, 3, 8], [1, 9, 9, 12, 3, 4]])


@torch.inference_mode()
def logits_of(folder: Path, ids: torch.Tensor = IDS) -> torch.Tensor:
    """[rows, ids, vocabulary]"""
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits
