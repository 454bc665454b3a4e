"""`chatgpt2 train-classifier` and `chatgpt2 classify`: teach a model to judge texts, and let it judge them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from chatgpt2.cli.training import FILE, run, split_option, training_options
from chatgpt2.errors import ConfigError


@click.command("train-classifier")
@click.argument("paths", nargs=-1, type=FILE)
@click.option(
    "--head",
    type=click.Choice(["classification", "regression", "value", "lm"]),
    default="classification",
    show_default=True,
    help="Classes; a number; a number beside the next token; a new head that writes, on texts without labels.",
)
@click.option(
    "--label",
    metavar="NAME_OR_NUMBER",
    help="Which column or field is the label. [default: one called label, class … or the other one of two]",
)
@click.option(
    "--field",
    metavar="NAME_OR_NUMBER",
    help="Which is the text. [default: one called text, content … or the other one of two]",
)
@click.option(
    "--freeze-backbone",
    is_flag=True,
    help="Keep --base as it is and learn the head alone: many times as fast.",
)
@click.option("--train", multiple=True, type=FILE, help="Also learn from this; may be repeated.")
@click.option("--validation", multiple=True, type=FILE, help="Evaluate on this while training.")
@click.option("--test", multiple=True, type=FILE, help="Evaluate on this at the end.")
@split_option
@click.option(
    "--clean",
    is_flag=True,
    help="Compose characters (NFC), leave out invisible ones, blank lines and white space that repeats.",
)
@click.option("--block", type=int, metavar="N", help="Tokens of the longest text. [default: 512]")
@click.option(
    "--tokenizer", metavar="bert|char|bpe|NAME_OR_DIR", help="Of a new model. [default: bert, or the base's]"
)
@click.option("--entries", type=int, metavar="N", help="Entries of a learned bpe. [default: chosen]")
@click.option("--skip-bad", is_flag=True, help="Leave records without text or label out, and say so.")
@training_options
@click.pass_context
def train_classifier(ctx: click.Context, /, resume: bool, train: tuple[Path, ...], **options: Any) -> None:
    """Teach a model to judge texts. PATHS are csv, tsv, json, jsonl, parquet or arrow files, or folders of them, with
    a text and a label in each record. `chatgpt2 classify` uses the model."""
    from chatgpt2.training.classifier import train_classifier as learn
    from chatgpt2.training.options import ClassifierOptions

    options["paths"] = (*options["paths"], *train)
    if not (resume or options["paths"]):
        raise ConfigError("name labelled texts: `chatgpt2 train-classifier reviews.tsv --base MODEL`")
    use = "chatgpt2 generate" if options["head"] == "lm" else "chatgpt2 classify"
    run(ctx, ClassifierOptions, learn, resume, options, "paths", use)


@click.command("classify")
@click.argument("model", metavar="MODEL")
@click.argument("texts", metavar="TEXT…", nargs=-1)
@click.option(
    "--file",
    "file",
    metavar="FILE",
    help="Judge the texts in FILE: one a line, or the records of a csv, tsv, json, jsonl, parquet or arrow file; "
    "-: lines from stdin.",
)
@click.option("--field", metavar="NAME_OR_NUMBER", help="Which column or field of FILE is the text.")
@click.option("--device", default="auto", show_default=True, help="Where the model runs: cpu, cuda, cuda:1 …")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line, with the score of every class."
)
def classify(
    model: str, texts: tuple[str, ...], file: str | None, field: str | None, device: str, as_json: bool
) -> None:
    """Let MODEL judge each TEXT: its class and how sure it is, or the number that it gives.

    MODEL is what `train-classifier` made, or any GPT2ForSequenceClassification. Texts are judged in batches, and
    printed as they are done.
    """
    from chatgpt2.classifying import classify as judge

    if not (texts or file):
        raise ConfigError(
            "give a text, or a file of them: chatgpt2 classify MODEL 房间很干净, or --file texts.txt"
        )
    if field is not None and file in (None, "-"):
        raise ConfigError("--field chooses a column of --file FILE: give both")
    for each in judge(model, _texts(texts, file, field), device=device):
        if as_json:
            row = {"text": each.text, "label": each.label, "score": each.score, "scores": each.scores}
            click.echo(json.dumps(row, ensure_ascii=False))
        else:
            said = f"{each.score:.4f}" if each.label is None else f"{each.label}\t{each.score:.4f}"
            click.echo(f"{said}\t{' '.join(each.text.split())}")


def _texts(given: tuple[str, ...], file: str | None, field: str | None) -> Iterator[str]:
    from chatgpt2.corpus.texts import TextSource, text_files

    yield from given
    if file == "-":
        yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
    elif file is not None:
        yield from TextSource(text_files([file]), "lines", field)
