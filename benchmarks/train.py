"""Training speed and what it buys, beside the plain way of training the same model.

    python benchmarks/train.py [--seconds 240] [--json] [CORPUS…]

Both train a 6×384 GPT-2 on the same files with the same vocabulary and threads, and are measured in fp32 on
the same 1,000 held-out dialogues. Without CORPUS: $CHATGPT2_DATA/dialogues (a shard of the GPT2-chitchat
corpus and LCCC-base valid, see docs/benchmarks.md for where they come from) and its 13,317-entry vocabulary.

The plain way: fp32, 4 dialogues in file order after one seeded shuffle, padded to the longest, gradients of
4 batches accumulated, dropout 0.1, AdamW 1e-3 with default betas, 20 warm-up steps then linear to 0 over the
time, clip 1, transformers' own loss over all positions.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from chatgpt2.batches import collate, cut_batches
from chatgpt2.checkpoint import create_model, load_checkpoint, quiet_transformers, set_dropout
from chatgpt2.codec import Codec
from chatgpt2.corpus import read_corpus
from chatgpt2.evaluation import Measured
from chatgpt2.tokens import Array, TokenFile, tokenise
from chatgpt2.training.dialogue import train_dialog
from chatgpt2.training.options import TrainOptions
from chatgpt2.training.plan import Plan
from chatgpt2.training.watch import Progress, Sample
from chatgpt2.vocabulary import load_vocabulary

HELD_OUT = 1000
SHORT = 35.0


@dataclass(frozen=True)
class Outcome:
    """A run: non-pad tokens per second of training, steps, and the held-out loss per token."""

    tokens_per_second: float
    steps: int
    seconds: float
    loss: float


class Silent:
    """An observer that only keeps the last progress."""

    def __init__(self) -> None:
        self.latest: Progress | None = None
        self.tokens = 0.0

    def notice(self, text: str) -> None: ...
    def begin(self, plan: Plan, step: int) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def evaluated(self, step: int, held_out: Measured | None, samples: list[Sample]) -> None: ...
    def end(self) -> None: ...


def prepare_files(corpora: list[Path], folder: Path) -> tuple[Path, Path]:
    """The dialogues of `corpora`, shuffled once, as a training file and a held-out file of 1,000."""
    dialogues = [d for corpus in corpora for d in read_corpus(corpus)]
    if len(dialogues) < 2 * HELD_OUT:
        sys.exit(f"{len(dialogues)} dialogues: at least {2 * HELD_OUT} are needed")
    random.Random(0).shuffle(dialogues)
    files = folder / "train.txt", folder / "held_out.txt"
    for path, part in zip(files, (dialogues[HELD_OUT:], dialogues[:HELD_OUT]), strict=True):
        blocks = ["\n".join(t.text.replace("\n", " ") for t in d.turns) for d in part]
        path.write_text("\n\n".join(blocks), encoding="utf-8")
    return files


def measure(model: GPT2LMHeadModel, held: TokenFile, pad_id: int) -> float:
    """Loss per token in fp32, by transformers' own forward."""
    model.eval()
    order = held.lengths.argsort(kind="stable")
    total, count = 0.0, 0
    with torch.no_grad():
        for numbers in cut_batches(held.lengths, order, 8192):
            batch = collate(held, [[n] for n in numbers.tolist()], pad_id)
            mask = torch.arange(batch.ids.shape[1]) < torch.from_numpy(held.lengths[numbers])[:, None]
            logits = model(input_ids=batch.ids, attention_mask=mask.long()).logits.flatten(0, 1)
            wanted = logits[batch.places]
            total += torch.nn.functional.cross_entropy(wanted, batch.labels, reduction="sum").item()
            count += len(batch.labels)
    return total / count


def plain_way(tokens: TokenFile, held: TokenFile, codec: Codec, seconds: float, seed: int) -> Outcome:
    """The peer's loop, written cleanly; its schedule is over the time that has passed."""
    model = create_model("small", codec, seed=seed)
    set_dropout(model, 0.1)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    order = np.random.default_rng(seed).permutation(len(tokens))
    position, step, seen, began = 0, 0, 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        factor = min((step + 1) / 20, 1.0) * max(0.0, 1 - passed / seconds)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * factor
        for _ in range(4):
            inputs, count = plain_batch(tokens, order, position, codec.pad_id)
            position += 4
            seen += count
            (model(**inputs).loss / 4).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
    passed = time.perf_counter() - began
    return Outcome(seen / passed, step, passed, measure(model, held, codec.pad_id))


def plain_batch(tokens: TokenFile, order: Array, position: int, pad_id: int) -> tuple[dict[str, Any], int]:
    numbers = [int(order[(position + i) % len(order)]) for i in range(4)]
    batch = collate(tokens, [[n] for n in numbers], pad_id)
    mask = torch.arange(batch.ids.shape[1]) < torch.from_numpy(tokens.lengths[numbers])[:, None]
    labels = batch.ids.masked_fill(~mask, -100)
    return {"input_ids": batch.ids, "attention_mask": mask.long(), "labels": labels}, batch.tokens


def our_way(options: TrainOptions, minutes: float, cache: Path, held: TokenFile) -> Outcome:
    """`train-dialog --minutes`: measuring the speed and planning are inside the time."""
    options = replace(options, minutes=minutes, out=options.out / f"{minutes:.3f}-{options.optimizer}")
    began = time.perf_counter()
    with quiet_transformers():
        result = train_dialog(options, cache, Silent())
    card = json.loads((result.out / "chatgpt2.json").read_text(encoding="utf-8"))
    training = card["training"]
    checkpoint = load_checkpoint(result.out)
    loss = measure(checkpoint.model, held, checkpoint.codec.pad_id)
    print(f"  whole command {time.perf_counter() - began:.0f} s", file=sys.stderr)
    shutil.rmtree(result.out)
    return Outcome(training["tokens"] / training["seconds"], result.steps, training["elapsed"], loss)


def main() -> None:
    data = os.environ.get("CHATGPT2_DATA")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="*", type=Path)
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--seconds", type=float, default=240.0, help="what each long run takes")
    parser.add_argument("--short", type=float, default=SHORT, help="seconds of the run to the peer's loss")
    parser.add_argument("--throughput-seconds", type=float, default=30.0, help="seconds of the AdamW run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if not arguments.corpus and not data:
        parser.error("name a CORPUS, or set CHATGPT2_DATA (see docs/benchmarks.md)")
    torch.set_num_threads(arguments.threads)
    corpora = arguments.corpus or sorted((Path(data or "") / "dialogues").iterdir())
    default = Path(data or "") / "vocab" / "chitchat_13317.txt"
    vocabulary = arguments.vocabulary or (default if default.exists() else None)
    with tempfile.TemporaryDirectory() as name:
        print_report(compare(arguments, corpora, vocabulary, Path(name)), arguments.json)


def compare(arguments: Any, corpora: list[Path], vocabulary: Path | None, folder: Path) -> dict[str, Any]:
    """Run both ways one after the other and put their figures together."""
    train_file, held_file = prepare_files(corpora, folder)
    options = TrainOptions(
        corpus=(train_file,),
        eval_corpus=(held_file,),
        vocabulary=vocabulary,
        size="small",
        eval_every=0,
        samples=0,
        save_every=10**9,
        seed=arguments.seed,
        device="cpu",
        out=folder / "out",
    )
    if vocabulary:
        codec = Codec(load_vocabulary(vocabulary))
    else:
        from chatgpt2.vocabulary import default_vocabulary

        codec = Codec(default_vocabulary())
    tokens, held = (tokenise((f,), codec, cache=folder / "tokens") for f in (train_file, held_file))
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    say(f"plain way, {arguments.seconds:.0f} s …")
    peer = plain_way(tokens, held, codec, arguments.seconds, arguments.seed)
    say(f"  {peer}\nours with AdamW, {arguments.throughput_seconds:.0f} s …")
    adamw = our_way(
        replace(options, optimizer="adamw"), arguments.throughput_seconds / 60, folder / "tokens", held
    )
    say(f"  {adamw}\nours as shipped, {arguments.short:.0f} s …")
    short = our_way(options, arguments.short / 60, folder / "tokens", held)
    say(f"  {short}\nours as shipped, {arguments.seconds:.0f} s …")
    ours = our_way(options, arguments.seconds / 60, folder / "tokens", held)
    say(f"  {ours}")
    return {
        "throughput_ratio": round(adamw.tokens_per_second / peer.tokens_per_second, 2),
        "seconds_to_peer_loss": round(short.seconds, 1) if short.loss <= peer.loss else None,
        "peer_loss": round(peer.loss, 4),
        "our_loss": round(ours.loss, 4),
        "loss_gap": round(peer.loss - ours.loss, 4),
        "short_loss": round(short.loss, 4),
        "peer_tokens_per_second": round(peer.tokens_per_second),
        "adamw_tokens_per_second": round(adamw.tokens_per_second),
        "muon_tokens_per_second": round(ours.tokens_per_second),
        "peer_steps": peer.steps,
        "our_steps": ours.steps,
        "our_seconds": round(ours.seconds, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in create_model("small", codec).parameters()),
    }


def print_report(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    width = max(map(len, report))
    for key, value in report.items():
        print(f"{key:<{width}}  {value}")
    assert math.isfinite(report["our_loss"])


if __name__ == "__main__":
    main()
