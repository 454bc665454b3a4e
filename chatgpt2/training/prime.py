"""Where a model from scratch starts: weights that already know how often each token occurs.

Each of these was measured to lower the held-out loss of a short run (docs/benchmarks.md), and none changes
the shape of the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from chatgpt2.tokens import Array

EMBEDDING_STD = 0.05
_BIAS = 5.0


@torch.no_grad()
def prime(model: GPT2LMHeadModel, counts: Array, seed: int) -> None:
    """Prepare a new model for learning.

    * Embeddings start wider than GPT-2's 0.02: they are also the head, whose first logits are then not
      all alike.
    * GPT-2 has no output bias. Coordinate 0 of the embeddings holds each token's log frequency, and the last
      layer norm puts a constant there: the first step already predicts the unigram distribution.
    """
    transformer: Any = model.transformer
    generator = torch.Generator().manual_seed(seed)
    embeddings = transformer.wte.weight
    embeddings.normal_(0.0, EMBEDDING_STD, generator=generator)
    frequencies = np.log((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))
    centred = torch.from_numpy(frequencies - frequencies.mean()).float()
    embeddings[:, 0] = centred / _BIAS
    transformer.ln_f.weight[0] = 0.0
    transformer.ln_f.bias[0] = _BIAS
