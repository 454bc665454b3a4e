"""A classifier on a pre-trained backbone beside the same model from scratch, and what freezing saves.

    CHATGPT2_DATA=… python benchmarks/classify.py [--size tiny] [--pretrain-steps 2000] [--steps 200] [--json]

Hotel and shop reviews with two classes: train.tsv and dev.tsv of ChnSentiCorp. Everything that dev.tsv holds is taken
out of the texts to pre-train on (chnsenticorp.txt) and of train.tsv, which holds 335 of its texts too; duplicates are
removed. Steps are fixed, not minutes, so that a busy machine changes nothing but the time.

The learning rate of each is the better of two on a tenth of train.tsv that nothing learns from; dev.tsv is looked at
once.

    base_accuracy      `train-classifier --base`, after `train-text` on the reviews without their labels
    scratch_accuracy   the same model, tokenizer, steps and texts, with random weights
    frozen_accuracy    `--base --freeze-backbone`: the head alone
    frozen_speedup     CPU seconds of a step of the whole model over one whose frozen backbone is asked each time
    kept_speedup       … over one whose backbone was asked once for all steps, that asking left out
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import chatgpt2.training.labelled
from chatgpt2 import train_classifier, train_text
from chatgpt2.training import classifier

TIMED = 20  # steps
RATES = (1e-3, 3e-3)


def rows(path: Path) -> list[tuple[str, str]]:
    """label, text"""
    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    return [
        (label, text.strip()) for label, _, text in (line.partition("\t") for line in lines) if text.strip()
    ]


def prepare(data: Path, folder: Path) -> tuple[Path, Path, Path]:
    """The files to pre-train on, to learn classes from, and to measure on."""
    dev = {text: label for label, text in rows(data / "dev.tsv")}
    train = {text: label for label, text in rows(data / "train.tsv") if text not in dev}
    lines = (data / "chnsenticorp.txt").read_text(encoding="utf-8").replace("\r\n", "\n").split("\n")
    texts = dict.fromkeys(text for line in lines if (text := line.strip()) and text not in dev)
    plain, own, held = folder / "plain.txt", folder / "train.tsv", folder / "dev.tsv"
    plain.write_text("\n".join(texts), encoding="utf-8")
    choose = {text: label for n, (text, label) in enumerate(train.items()) if n % 10 == 0}
    train = {text: label for text, label in train.items() if text not in choose}
    for path, found in ((own, train), (held, dev), (folder / "choose.tsv", choose)):
        table = "".join(f"{label}\t{text}\n" for text, label in found.items())
        path.write_text("label\ttext\n" + table, encoding="utf-8")
    return plain, own, held


def step_seconds(own: Path, folder: Path, name: str, **options: Any) -> float:
    """CPU seconds of a step, the first two left out: a machine prepares its kernels in them."""
    marks: list[float] = []

    class Clock:
        """Told of each step; see training.watch.Observer."""

        def notice(self, text: str) -> None: ...
        def begin(self, plan: Any, step: int) -> None: ...
        def progress(self, progress: Any) -> None:
            marks.append(time.process_time())

        def evaluated(self, step: int, held_out: Any, samples: Any) -> None: ...
        def end(self) -> None: ...

    settings = classifier.ClassifierOptions(
        paths=(own,),
        out=folder / name,
        split=(100,),
        steps=TIMED,
        samples=0,
        eval_every=0,
        device="cpu",
        **options,
    )
    classifier.train_classifier(settings, folder / "tokens", Clock())
    return (marks[-1] - marks[2]) / (len(marks) - 3)


def speedups(own: Path, base: Path, folder: Path) -> dict[str, float]:
    whole = step_seconds(own, folder, "timed-whole", base=str(base))
    most, chatgpt2.training.labelled._MOST_KEPT = chatgpt2.training.labelled._MOST_KEPT, 0
    asked = step_seconds(own, folder, "timed-frozen", base=str(base), freeze_backbone=True)
    chatgpt2.training.labelled._MOST_KEPT = most
    kept = step_seconds(own, folder, "timed-kept", base=str(base), freeze_backbone=True)
    return {"frozen_speedup": round(whole / asked, 2), "kept_speedup": round(whole / kept, 1)}


def best(kind: str, own: Path, held: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """The figures on `held` of the rate that does best on a part of `own`; of a frozen backbone at the usual rate."""
    found = []
    for rate in (None,) if kind == "frozen" else RATES:
        out, began = folder / f"{kind}-{rate}", time.perf_counter()
        parts = {"validation": folder / "choose.tsv", "test": held}
        result = train_classifier(own, out=out, eval_every=0, lr=rate, **parts, **options)
        seconds = round(time.perf_counter() - began)
        found.append((result.held_out.accuracy, result.tested.accuracy, result.tested.f1, rate, seconds))
        say(
            f"{kind} at {rate}: {found[-1][0]:.2%} of the part to choose by, dev {found[-1][1]:.2%}, {seconds} s"
        )
    _, accuracy, f1, rate, seconds = max(found, key=lambda each: each[0])
    figures = {"accuracy": round(accuracy, 4), "f1": round(f1, 4), "lr": rate, "seconds": seconds}
    return {f"{kind}_{name}": value for name, value in figures.items()}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["tiny", "small"], default="tiny")
    parser.add_argument("--pretrain-steps", type=int, default=2000, help="of 1,024 tokens")
    parser.add_argument(
        "--steps", type=int, default=200, help="of 2,048 tokens; of the frozen one three times as many"
    )
    parser.add_argument("--base", type=Path, help="take this model instead of pre-training one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    data = Path(os.environ.get("CHATGPT2_DATA") or parser.error("set CHATGPT2_DATA, see docs/benchmarks.md"))
    quiet: dict[str, Any] = {"samples": 0, "quiet": True, "device": "cpu", "save_every": 10**9}
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CHATGPT2_HOME"] = str(folder / "home")
        plain, own, held = prepare(data / "reviews", folder)
        base, began = arguments.base or folder / "pretrained", time.perf_counter()
        if arguments.base is None:
            steps = arguments.pretrain_steps
            train_text(
                plain, out=base, shape="lines", size=arguments.size, steps=steps, split=(100,), **quiet
            )
            report["pretrain_seconds"] = round(time.perf_counter() - began)
            say(f"pre-trained, {report['pretrain_seconds']} s")
        runs: dict[str, dict[str, Any]] = {
            "base": {"base": base, "steps": arguments.steps, "batch_tokens": 2048},
            "scratch": {"size": arguments.size, "steps": arguments.steps, "batch_tokens": 2048},
            "frozen": {"base": base, "steps": 3 * arguments.steps, "freeze_backbone": True},
        }
        for kind, options in runs.items():
            report |= best(kind, own, held, folder, **options, **quiet)
        report |= speedups(own, base, folder)
    if arguments.json:
        print(json.dumps(report))
        return
    for key, value in report.items():
        print(f"{key:<18}  {value}")


if __name__ == "__main__":
    main()
