"""What quantised weights cost, and what the sampling settings do to replies, on a trained model.

    python benchmarks/quality.py MODEL CORPUS… [--dialogues 500] [--json]

CORPUS must be dialogues that MODEL has not learned. First the held-out loss per token of PyTorch in fp32 and of the
OpenVINO model with fp32, int8 and int4 weights at the settings that the engine uses. Then, for replies to the first
utterances: distinct-2, the share of replies that repeat a 4-gram, their length, and their loss per token under the
model itself in fp32 (low: it says what it finds likely), with the figures of the people's own replies to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from chatgpt2.checkpoint import Checkpoint, load_checkpoint, quiet_transformers
from chatgpt2.corpus import read_corpus
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import SamplingParams
from chatgpt2.engine.export import exported
from chatgpt2.engine.openvino import FAST
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.evaluation import distinct, generate_replies, repetition

Logits = Callable[[list[int]], torch.Tensor]  # ids [n] → [n, vocabulary]

_NOW = SamplingParams()
SETTINGS = [
    _NOW,
    replace(_NOW, temperature=0),
    replace(_NOW, temperature=0.5),
    replace(_NOW, temperature=1.0),
    replace(_NOW, top_k=8),
    replace(_NOW, top_k=0),
    replace(_NOW, top_p=0.8),
    replace(_NOW, top_p=1.0),
    replace(_NOW, repetition_penalty=1.0),
    replace(_NOW, repetition_penalty=1.2),
    replace(_NOW, no_repeat_ngram=3),
    replace(_NOW, no_repeat_ngram=3, repetition_penalty=1.0),
]


def torch_logits(checkpoint: Checkpoint) -> Logits:
    @torch.inference_mode()
    def run(ids: list[int]) -> torch.Tensor:
        return checkpoint.model(input_ids=torch.tensor([ids])).logits[0]

    return run


def openvino_logits(folder: Path) -> Logits:
    """The exported graph as it is, without the batching around it."""
    import openvino

    compiled = openvino.Core().compile_model(folder / "openvino_model.xml", "CPU", FAST)
    request = compiled.create_infer_request()

    def run(ids: list[int]) -> torch.Tensor:
        request.reset_state()
        row = np.array([ids], dtype=np.int64)
        places = np.arange(len(ids), dtype=np.int64)[None]
        named = {"input_ids": row, "attention_mask": np.ones_like(row), "position_ids": places}
        result = request.infer({**named, "beam_idx": np.zeros(1, dtype=np.int64)})
        return torch.from_numpy(result["logits"][0].astype(np.float32))

    return run


def loss_per_token(logits: Logits, examples: Sequence[list[int]]) -> float:
    total, count = 0.0, 0
    for ids in examples:
        total += float(
            functional.cross_entropy(logits(ids)[:-1].double(), torch.tensor(ids[1:]), reduction="sum")
        )
        count += len(ids) - 1
    return total / count


def precisions(checkpoint: Checkpoint, examples: Sequence[list[int]], folder: Path) -> list[dict[str, Any]]:
    """The graph bans ids, and people write such ids too: only examples without them are compared."""
    banned = set(checkpoint.banned_ids)
    clean = [ids for ids in examples if not banned & set(ids[1:])]
    reference = loss_per_token(torch_logits(checkpoint), clean)
    rows = [{"weights": "PyTorch fp32", "loss": round(reference, 5)}]
    for weights in ("fp32", "int8", "int4"):
        files = exported(checkpoint.model, folder, weights=weights)
        loss = loss_per_token(openvino_logits(files), clean)
        rise = 100 * float(np.expm1(loss - reference))
        rows.append(
            {"weights": f"OpenVINO {weights}", "loss": round(loss, 5), "perplexity_rise_%": round(rise, 3)}
        )
    return rows


def reply_loss(checkpoint: Checkpoint, pairs: Sequence[tuple[Dialogue, str]]) -> float:
    """Loss per token of the replies alone."""
    codec, logits, total, count = checkpoint.codec, torch_logits(checkpoint), 0.0, 0
    for dialogue, reply in pairs:
        if not reply:
            continue
        start = len(codec.prompt(dialogue, codec.window - 2))
        ids = codec.encode(dialogue.say("bot", reply))[0].ids
        scores = functional.cross_entropy(
            logits(ids)[start - 1 : -1], torch.tensor(ids[start:]), reduction="sum"
        )
        total, count = total + float(scores), count + len(ids) - start
    return total / count


def settings(checkpoint: Checkpoint, dialogues: Sequence[Dialogue]) -> list[dict[str, Any]]:
    asked = [Dialogue(d.turns[:1]) for d in dialogues]
    said = [d.turns[1].text for d in dialogues]
    rows = [figures(checkpoint, "people", asked, said)]
    engine = PyTorchEngine(checkpoint.model, banned_ids=checkpoint.banned_ids)
    with asyncio.Runner() as runner:
        for params in SETTINGS:
            changed = {k: v for k, v in asdict(params).items() if v != asdict(_NOW)[k]}
            seeded = replace(params, seed=1)
            replies = runner.run(generate_replies(engine, checkpoint.codec, asked, seeded))
            rows.append(figures(checkpoint, json.dumps(changed) if changed else "defaults", asked, replies))
        runner.run(engine.close())
    return rows


def figures(
    checkpoint: Checkpoint, name: str, asked: Sequence[Dialogue], replies: Sequence[str]
) -> dict[str, Any]:
    return {
        "setting": name,
        "distinct_2": round(distinct(replies), 3),
        "repetition_%": round(100 * repetition(replies), 1),
        "characters": round(sum(map(len, replies)) / len(replies), 1),
        "loss": round(reply_loss(checkpoint, list(zip(asked, replies, strict=True))), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path, nargs="+")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    dialogues: list[Dialogue] = []
    for path in options.corpus:
        for dialogue in read_corpus(path):
            if len(dialogues) < options.dialogues and len(dialogue.turns) > 1:
                dialogues.append(dialogue)
    examples = [example.ids for d in dialogues for example in checkpoint.codec.encode(d)]
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        report = {
            "dialogues": len(dialogues),
            "precisions": precisions(checkpoint, examples, Path(folder)),
            "settings": settings(checkpoint, dialogues),
        }
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    for name in ("precisions", "settings"):
        for row in report[name]:  # type: ignore[attr-defined]
            print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
