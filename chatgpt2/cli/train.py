"""`chatgpt2 train-dialog`: train or fine-tune a model on dialogues."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from chatgpt2.cli.home import data_folder, note_latest

_FILE = click.Path(path_type=Path)


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


@click.command("train-dialog")
@click.argument("corpus", nargs=-1, type=_FILE)
@click.option("--out", type=_FILE, help="Where the model goes. [default: models/NAME_OF_CORPUS]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, exactly as if it had not stopped.")
@click.option(
    "--size",
    type=click.Choice(["tiny", "small", "base"]),
    default="small",
    show_default=True,
    help="A new model: tiny 4 layers × 256, small 6 × 384, base 12 × 768.",
)
@click.option("--base", metavar="NAME_OR_DIR", help="Fine-tune this model instead (hub name or directory).")
@click.option("--vocabulary", type=_FILE, help="vocab.txt of a new model. [default: the shipped one]")
@click.option("--lora", type=int, metavar="RANK", help="Train low-rank adapters on --base, nothing else.")
@click.option(
    "--freeze",
    type=int,
    default=0,
    metavar="N",
    help="Keep the embeddings and the lowest N blocks as they are.",
)
@click.option(
    "--learn",
    type=click.Choice(["all", "bot"]),
    default="all",
    show_default=True,
    help="Learn every turn, or the bot's only.",
)
@click.option("--epochs", type=float, help="Passes over the corpus. [default: chosen for its size]")
@click.option("--steps", type=int, help="Optimizer steps.")
@click.option("--minutes", type=float, help="Measure the speed, then plan as many steps as fit.")
@click.option(
    "--batch-tokens", type=int, metavar="N", help="Places in a step, padding included. [default: chosen]"
)
@click.option(
    "--length",
    type=int,
    help="Longest example in tokens; longer dialogues are split. [default: 512; base 1024]",
)
@click.option(
    "--dropout", type=float, help="[default: 0.1 for more than four passes over the corpus, else 0]"
)
@click.option(
    "--join",
    type=float,
    metavar="SHARE",
    help="This share of dialogues follows another one, as a conversation that changes its subject. "
    "[default: 0.3 for more than four passes over the corpus, else 0]",
)
@click.option("--optimizer", type=click.Choice(["muon", "adamw"]), default="muon", show_default=True)
@click.option("--lr", type=float, help="Peak learning rate. [default: chosen]")
@click.option(
    "--schedule", type=click.Choice(["linear", "cosine", "constant"]), default="linear", show_default=True
)
@click.option("--min-lr", type=float, default=0.0, show_default=True, help="Where the schedule ends.")
@click.option("--warmup", type=int, metavar="STEPS", help="[default: 5 % of the steps, at most 200]")
@click.option(
    "--eval-fraction", type=float, help="Share of dialogues held out. [default: chosen for their number]"
)
@click.option(
    "--eval-corpus", type=_FILE, multiple=True, help="Hold this corpus out instead; may be repeated."
)
@click.option(
    "--eval-every", type=int, metavar="STEPS", help="0: only at the end. [default: ten times a run]"
)
@click.option(
    "--patience", type=int, metavar="N", help="Stop after N evaluations without gain and keep the best."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps …")
@click.option("--threads", type=int, help="CPU threads. [default: all cores]")
@click.option("--report-to", metavar="NAME,…", callback=_names, help="Also log to tensorboard and others.")
@click.option("--save-every", type=int, metavar="STEPS", help="[default: ten times a run]")
@click.option("--keep", type=int, default=1, show_default=True, metavar="N", help="Saved steps to keep.")
@click.option(
    "--samples", type=int, default=3, show_default=True, help="Sample replies after each evaluation."
)
@click.option("--format", "format", help="Read the corpus as this format. [default: seen from its content]")
@click.option("--keep-system", is_flag=True, help="Keep system texts as the first user turn.")
@click.option("--skip-bad", is_flag=True, help="Leave bad records out and say so, instead of stopping.")
@click.pass_context
def train_dialog(ctx: click.Context, /, resume: bool, **options: Any) -> None:
    """Train a model on CORPUS: files or folders of dialogues in any common format.

    `chatgpt2 corpus check CORPUS` says beforehand what is in it. Ctrl-C saves and says how to go on.
    """
    from chatgpt2.cli.progress import Screen
    from chatgpt2.errors import ConfigError
    from chatgpt2.training.dialogue import train_dialog as train
    from chatgpt2.training.dialogue import with_corpus_paths
    from chatgpt2.training.options import TrainOptions
    from chatgpt2.training.run import Run, resumed_options

    given = {key: value for key, value in options.items() if _is_given(ctx, key)}
    if resume:
        if options["out"] is None:
            raise ConfigError("--resume needs --out: the folder of the run")
        given.pop("corpus", None)
        settings = resumed_options(Run.read(options["out"]).options, given)
    else:
        if not options["corpus"]:
            raise ConfigError(
                "name a corpus: `chatgpt2 train-dialog corpus/` (`chatgpt2 init-corpus` writes one)"
            )
        out = options.pop("out") or _default_out(options["corpus"][0])
        settings = with_corpus_paths(TrainOptions(out=out, **options))
    first = os.environ.get("RANK", "0") == "0"
    screen = Screen(settings, quiet=not first)
    result = train(settings, data_folder() / "tokens", screen, resume=resume)
    if first:
        note_latest(result.out)
        screen.conclude(result)
    if not result.finished:
        ctx.exit(130)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)


def _default_out(corpus: Path) -> Path:
    """models/NAME, or models/NAME-2 … when that is taken."""
    name = corpus.resolve().name.split(".")[0] or "model"
    number = 1
    while True:
        out = Path("models") / (name if number == 1 else f"{name}-{number}")
        if not out.exists():
            return out
        number += 1
