"""train-text beside transformers' plain Trainer: loss per character of held-out text after the same time.

    CHATGPT2_DATA=… python benchmarks/text.py [--seconds 300] [--case novel …] [--size tiny …] [--json]

Three texts, a new model of each size, the same tokenizer and held-out text for both:

    reviews  chnsenticorp.txt, duplicate lines removed, 5 % held out, a review is an example, BERT's vocabulary
    novel    xiyouji.txt, the last 5 % held out, windows of 256 characters
    wiki     wikitext2_valid.txt, the last 10 % held out, windows of 256 tokens, bpe trained on the rest

The plain way is transformers.Trainer with its defaults (AdamW, linear schedule, fp32 on a CPU): 8 examples a step,
padded to the longest, max_steps set by timing some steps first so that the run fits the time; the best of three
learning rates, each with all of the time. Ours is `train-text --minutes`. Both are measured in fp32 by transformers'
own forward.
`two_process_ratio`: tokens/s of torchrun with two processes of one thread over one process with two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from chatgpt2 import train_text
from chatgpt2.checkpoint import create_model, load_text, quiet_transformers, set_dropout
from chatgpt2.corpus.texts import TextSource
from chatgpt2.material import Material, Windows, pile_of
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokens import TokenFile, tokenise_texts

RATES = (3e-4, 1e-3, 3e-3)
ROWS = 8


@dataclass(frozen=True)
class Case:
    """A text, what of it is held out, and how it is learned."""

    path: str
    held: float
    options: dict[str, Any]

    @property
    def wrapped(self) -> bool:
        return self.options.get("shape") == "lines"


CASES = {
    "reviews": Case("reviews/chnsenticorp.txt", 0.05, {"shape": "lines", "tokenizer": "bert"}),
    "novel": Case("text/xiyouji.txt", 0.05, {"tokenizer": "char"}),
    "wiki": Case("text/wikitext2_valid.txt", 0.10, {"tokenizer": "bpe"}),
}


def prepare(case: Case, data: Path, folder: Path) -> tuple[Path, Path]:
    """A file to learn from and one that is held out."""
    lines = (data / case.path).read_text(encoding="utf-8").replace("\r\n", "\n").split("\n")
    if case.wrapped:
        lines = list(dict.fromkeys(line for line in lines if line.strip()))
        random.Random(0).shuffle(lines)
    total, at, cut = sum(map(len, lines)), 0, len(lines)
    for n, line in enumerate(lines):
        at += len(line)
        if at >= total * (1 - case.held):
            cut = n
            break
    files = folder / "train.txt", folder / "held.txt"
    for path, part in zip(files, (lines[:cut], lines[cut:]), strict=True):
        path.write_text("\n".join(part), encoding="utf-8")
    return files


def tokens_of(file: Path, case: Case, codec: TextCodec, cache: Path) -> TokenFile:
    source = TextSource((file,), "lines" if case.wrapped else "stream")
    name = f"{file.stem}-{codec.fingerprint}"
    return tokenise_texts(lambda: source, codec, wrap=case.wrapped, cache=cache, fingerprint=name)


def material_of(tokens: TokenFile, case: Case, codec: TextCodec) -> Material:
    if case.wrapped:
        return pile_of(tokens, codec.pad_id)
    return Windows(tokens.ids, int(tokens.characters.sum()), codec.window, codec.pad_id)


def loss_per_character(model: Any, held: Material) -> float:
    """In fp32, by transformers' own forward. Padding is on the right, where nothing sees it."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for rows in held.in_order(4096):
            batch = held.__getitems__(rows)
            logits = model(input_ids=batch.ids).logits.flatten(0, 1)[batch.places]
            total += torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum").item()
    return total / held.characters


class Rows(torch.utils.data.Dataset[list[int]]):
    """The rows of a material one by one, as Trainer wants them."""

    def __init__(self, material: Material) -> None:
        self.rows = list(material.first(len(material)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, n: int) -> list[int]:
        return self.rows[n]


def padded(rows: list[list[int]], pad_id: int) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for n, row in enumerate(rows):
        ids[n, : len(row)], mask[n, : len(row)] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def trained_plainly(size: str, codec: TextCodec, rows: Rows, rate: float, steps: int, folder: Path) -> Any:
    model = create_model(size, codec)
    set_dropout(model, 0.1)  # GPT-2's default
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=ROWS,
        learning_rate=rate,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=lambda some: padded(some, codec.pad_id),
    )
    trainer.remove_callback(PrinterCallback)
    with quiet_transformers():
        trainer.train()
    return model


def plain_way(
    size: str, codec: TextCodec, learned: Material, held: Material, seconds: float, folder: Path
) -> Any:
    """The best loss per character, and with which rate and how many steps."""
    rows, took = Rows(learned), []
    for some in (2, 4, 16):  # the first steps are slow, and each run has a beginning
        began = time.perf_counter()
        trained_plainly(size, codec, rows, 1e-4, some, folder)
        took.append(time.perf_counter() - began)
    steps = max(10, int(12 * seconds / (took[2] - took[1])))
    found = []
    for rate in RATES:
        began = time.perf_counter()
        model = trained_plainly(size, codec, rows, rate, steps, folder)
        passed = time.perf_counter() - began
        found.append((loss_per_character(model, held), rate, steps, round(passed, 1)))
        say(f"    plain {rate:g}: {found[-1][0]:.4f} per character, {steps} steps, {passed:.0f} s")
    return min(found)


def compare(name: str, size: str, data: Path, seconds: float, folder: Path) -> dict[str, Any]:
    case = CASES[name]
    folder.mkdir()
    train, held_file = prepare(case, data, folder)
    out, began = folder / "ours", time.perf_counter()
    result = train_text(
        train,
        out=out,
        validation=held_file,
        size=size,
        minutes=seconds / 60,
        samples=0,
        eval_every=0,
        save_every=10**9,
        device="cpu",
        quiet=True,
        **case.options,
    )
    ours = load_text(out)
    passed = time.perf_counter() - began
    parts = [tokens_of(file, case, ours.codec, folder / "tokens") for file in (train, held_file)]
    learned, held = (material_of(tokens, case, ours.codec) for tokens in parts)
    our_loss = loss_per_character(ours.model, held)
    say(f"    ours: {our_loss:.4f} per character, {result.steps} steps, {passed:.0f} s with everything")
    loss, rate, steps, took = plain_way(size, ours.codec, learned, held, seconds, folder / "plain")
    return {
        "our_loss_per_char": round(our_loss, 4),
        "plain_loss_per_char": round(loss, 4),
        "our_seconds": round(result.seconds, 1),
        "our_steps": result.steps,
        "plain_seconds": took,
        "plain_steps": steps,
        "plain_rate": rate,
        "held_characters": held.characters,
        "entries": len(ours.codec.vocabulary),
    }


def two_process_ratio(data: Path, folder: Path, steps: int = 60) -> float:
    """Tokens a second of the steps themselves, from the card."""
    rates = []
    for processes in (1, 2):
        out = folder / f"processes-{processes}"
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [sys.executable, *launch, "-m", "chatgpt2", "train-text", str(data / CASES["novel"].path)]
        command += ["--tokenizer", "char", "--size", "small", "--steps", str(steps), "--out", str(out)]
        command += [
            "--threads",
            str(2 // processes),
            "--eval-every",
            "0",
            "--samples",
            "0",
            "--device",
            "cpu",
        ]
        home = {"CHATGPT2_HOME": str(folder / "home"), "OMP_NUM_THREADS": str(2 // processes)}
        subprocess.run(command, check=True, env={**os.environ, **home}, stdout=sys.stderr)
        training = json.loads((out / "chatgpt2.json").read_text(encoding="utf-8"))["training"]
        rates.append(training["tokens"] / training["seconds"])
    return round(rates[1] / rates[0], 3)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="what each run takes")
    parser.add_argument("--case", action="append", choices=CASES, help="may be repeated [default: all]")
    parser.add_argument("--size", action="append", choices=["tiny", "small"], help="[default: both]")
    parser.add_argument("--no-processes", action="store_true", help="leave two_process_ratio out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    data = Path(os.environ.get("CHATGPT2_DATA") or parser.error("set CHATGPT2_DATA, see docs/benchmarks.md"))
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        os.environ["CHATGPT2_HOME"] = str(Path(name) / "home")
        for case in arguments.case or CASES:
            for size in arguments.size or ("tiny", "small"):
                say(f"{case} {size}, {arguments.seconds:.0f} s a run …")
                found = compare(case, size, data, arguments.seconds, Path(name) / f"{case}-{size}")
                report[f"{case}_{size}"] = found
        if not arguments.no_processes:
            report["two_process_ratio"] = two_process_ratio(data, Path(name))
    if arguments.json:
        print(json.dumps(report))
        return
    for key, value in report.items():
        print(f"{key:<14}  {value}")


if __name__ == "__main__":
    main()
