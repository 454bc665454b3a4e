"""`chatgpt2 train-dialog` and `chatgpt2 train-text`: train or fine-tune a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from chatgpt2.cli.training import FILE, run, split_option, training_options


@click.command("train-dialog")
@click.argument("corpus", nargs=-1, type=FILE)
@training_options
@click.option(
    "--learn",
    type=click.Choice(["all", "bot"]),
    default="all",
    show_default=True,
    help="Learn every turn, or the bot's only.",
)
@click.option(
    "--length",
    type=int,
    help="Longest example in tokens; longer dialogues are split. [default: 512; base 1024]",
)
@click.option(
    "--join",
    type=float,
    metavar="SHARE",
    help="This share of dialogues follows another one, as a conversation that changes its subject. "
    "[default: 0.3 for more than four passes over the corpus, else 0]",
)
@click.option(
    "--eval-fraction", type=float, help="Share of dialogues held out. [default: chosen for their number]"
)
@click.option(
    "--eval-corpus", type=FILE, multiple=True, help="Hold this corpus out instead; may be repeated."
)
@click.option("--format", "format", help="Read the corpus as this format. [default: seen from its content]")
@click.option("--keep-system", is_flag=True, help="Keep system texts as the first user turn.")
@click.option("--skip-bad", is_flag=True, help="Leave bad records out and say so, instead of stopping.")
@click.pass_context
def train_dialog(ctx: click.Context, /, resume: bool, **options: Any) -> None:
    """Train a model on CORPUS: files or folders of dialogues in any common format.

    `chatgpt2 corpus check CORPUS` says beforehand what is in it. Ctrl-C saves and says how to go on.
    """
    from chatgpt2.errors import ConfigError
    from chatgpt2.training.dialogue import train_dialog as train
    from chatgpt2.training.options import TrainOptions

    if not (resume or options["corpus"]):
        raise ConfigError(
            "name a corpus: `chatgpt2 train-dialog corpus/` (`chatgpt2 init-corpus` writes one)"
        )
    run(ctx, TrainOptions, train, resume, options, "corpus", "chatgpt2 chat --model")


@click.command("train-text")
@click.argument("paths", nargs=-1, type=FILE)
@click.option(
    "--as",
    "shape",
    type=click.Choice(["stream", "lines", "records"]),
    default="stream",
    show_default=True,
    help="One long text; a text per line or record; a text per paragraph or record.",
)
@click.option(
    "--field",
    metavar="NAME_OR_NUMBER",
    help="Which column or field is the text. [default: the only one, or one called text, content …]",
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
@click.option(
    "--block",
    type=int,
    metavar="N",
    help="Tokens of a window, or of the longest example. [default: 256; lines and records 512]",
)
@click.option(
    "--windows",
    type=click.Choice(["random", "disjoint"]),
    default="random",
    show_default=True,
    help="Whether each pass cuts the stream elsewhere, or always at the same places.",
)
@click.option(
    "--tokenizer",
    metavar="bert|char|bpe|NAME_OR_DIR",
    help="Of a new model: the shipped vocabulary, the text's characters, byte pairs learned from it, or another "
    "model's. [default: bert, or the base's]",
)
@click.option("--entries", type=int, metavar="N", help="Entries of a learned bpe. [default: chosen]")
@click.option("--bos", metavar="TOKEN", help="Stands before each text. [default: the tokenizer's]")
@click.option("--eos", metavar="TOKEN", help="Stands after each text. [default: the tokenizer's]")
@training_options
@click.pass_context
def train_text(ctx: click.Context, /, resume: bool, train: tuple[Path, ...], **options: Any) -> None:
    """Train a model on any text: PATHS are txt, csv, tsv, json, jsonl, parquet or arrow files, or folders of them."""
    from chatgpt2.errors import ConfigError
    from chatgpt2.training.options import TextOptions
    from chatgpt2.training.text import train_text as learn

    options["paths"] = (*options["paths"], *train)
    if not (resume or options["paths"]):
        raise ConfigError("name a text: `chatgpt2 train-text novel.txt`")
    run(ctx, TextOptions, learn, resume, options, "paths", "chatgpt2 generate")
