"""What the openvino engine's process does with its pipeline."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from callers import ENDLESS
from little_language import BANNED, WINDOW, prompts
from transformers import GPT2LMHeadModel

from chatgpt2.engine.export import exported
from chatgpt2.engine.messages import Add, Drop, Setup

pytest.importorskip("openvino_genai", reason="openvino-genai is not installed")

from chatgpt2.engine.openvino import EXACT
from chatgpt2.engine.pipeline import Replies


def test_nothing_is_left_of_a_thousand_replies(model: GPT2LMHeadModel, tmp_path: Path) -> None:
    """Slots and blocks of the cache are free again, whoever finished and whoever left."""
    files = exported(model, tmp_path, banned_ids=BANNED, weights="fp32")
    replies = Replies(Setup(str(files), WINDOW, 8, 4 * WINDOW, 512, EXACT | {"INFERENCE_NUM_THREADS": "1"}))
    rng, many = random.Random(0), prompts(20, seed=1)
    going: set[int] = set()
    for name in range(1000):
        replies.do(Add(name, rng.choice(many), ENDLESS, rng.randint(1, 30), name))
        going.add(name)
        while len(going) >= 8 or (going and rng.random() < 0.4):
            if rng.random() < 0.1:
                left = rng.choice(sorted(going))
                going.discard(left)
                replies.do(Drop(left))
            replies.step()
            going -= {said.reply for said in replies.said() if said.finish}
    for left in going:
        replies.do(Drop(left))
    assert replies.idle
    assert not replies.pipeline.has_non_finished_requests()
    for name in range(1000, 1004):  # as many as the cache holds, each as long as the window
        replies.do(Add(name, [5] * (WINDOW - 60), ENDLESS, 60, name))
    lengths = dict.fromkeys(range(1000, 1004), 0)
    for _ in range(200):
        if replies.idle:
            break
        replies.step()
        for said in replies.said():
            lengths[said.reply] += len(said.ids)
    assert set(lengths.values()) == {60}
