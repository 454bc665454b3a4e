from __future__ import annotations

import numpy as np
import torch

from chatgpt2.checkpoint import create_model
from chatgpt2.codec import Codec
from chatgpt2.training.prime import prime
from chatgpt2.vocabulary import SPECIAL


def test_a_primed_model_predicts_the_unigram_distribution() -> None:
    codec = Codec([*SPECIAL, *"天地人你我他"], 32)
    model = create_model("tiny", codec)
    counts = np.array([0, 0, 0, 10_000, 0, 1000, 100, 10, 1, 0, 0])
    prime(model, counts, seed=0)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[codec.cls_id]])).logits[0, 0]
    # The random part of the embeddings blurs it, but the order of magnitude is there from the first step.
    others = [i for i in range(11) if i != codec.cls_id]
    wanted = torch.from_numpy(np.log(counts + 0.5)).float()
    assert np.corrcoef(logits[others], wanted[others])[0, 1] > 0.8
    assert logits[others].argmax() == others.index(3)


def test_the_same_seed_gives_the_same_start() -> None:
    codec = Codec([*SPECIAL, *"天地人"], 32)
    models = [create_model("tiny", codec, seed=1) for _ in range(2)]
    for model in models:
        prime(model, np.ones(8, dtype=np.int64), seed=3)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)
