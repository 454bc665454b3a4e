"""The options that all kinds of training share, and how a run is started from a command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from chatgpt2.cli.home import data_folder, note_latest

if TYPE_CHECKING:
    from chatgpt2.training.learn import Result
    from chatgpt2.training.options import RunOptions

FILE = click.Path(path_type=Path)
Options = TypeVar("Options", bound="RunOptions")


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


def _percentages(ctx: click.Context, param: click.Parameter, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        return tuple(float(share) for share in str(value).split("-"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not percentages such as 90-10 or 70-20-10") from None


split_option = click.option(
    "--split",
    metavar="A-B-C",
    callback=_percentages,
    help="Percentages to train, evaluate and test on, such as 90-10 or 70-20-10. [default: chosen]",
)
_OPTIONS = (
    click.option("--out", type=FILE, help="Where the model goes. [default: models/NAME_OF_CORPUS]"),
    click.option(
        "--resume", is_flag=True, help="Go on with the run in --out, exactly as if it had not stopped."
    ),
    click.option(
        "--size",
        type=click.Choice(["tiny", "small", "base"]),
        default="small",
        show_default=True,
        help="A new model: tiny 4 layers × 256, small 6 × 384, base 12 × 768.",
    ),
    click.option(
        "--base", metavar="NAME_OR_DIR", help="Fine-tune this model instead (hub name or directory)."
    ),
    click.option(
        "--hub",
        type=click.Choice(["huggingface", "modelscope"]),
        default="huggingface",
        show_default=True,
        help="Where --base and a --tokenizer are fetched from when no directory here has that name.",
    ),
    click.option("--vocabulary", type=FILE, help="vocab.txt of a new model. [default: the shipped one]"),
    click.option("--lora", type=int, metavar="RANK", help="Train low-rank adapters on --base, nothing else."),
    click.option(
        "--freeze",
        type=int,
        default=0,
        metavar="N",
        help="Keep the embeddings and the lowest N blocks as they are.",
    ),
    click.option("--epochs", type=float, help="Passes over the corpus. [default: chosen for its size]"),
    click.option("--steps", type=int, help="Optimizer steps."),
    click.option("--minutes", type=float, help="Measure the speed, then plan as many steps as fit."),
    click.option(
        "--batch-tokens", type=int, metavar="N", help="Places in a step, padding included. [default: chosen]"
    ),
    click.option(
        "--dropout",
        type=float,
        help="[default: 0.1, of texts 0.2, for more than four passes over the corpus, else 0]",
    ),
    click.option("--optimizer", type=click.Choice(["muon", "adamw"]), default="muon", show_default=True),
    click.option("--lr", type=float, help="Peak learning rate. [default: chosen]"),
    click.option(
        "--schedule", type=click.Choice(["linear", "cosine", "constant"]), default="linear", show_default=True
    ),
    click.option("--min-lr", type=float, default=0.0, show_default=True, help="Where the schedule ends."),
    click.option("--warmup", type=int, metavar="STEPS", help="[default: 5 % of the steps, at most 200]"),
    click.option(
        "--eval-every", type=int, metavar="STEPS", help="0: only at the end. [default: ten times a run]"
    ),
    click.option(
        "--patience", type=int, metavar="N", help="Stop after N evaluations without gain and keep the best."
    ),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True
    ),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps …"),
    click.option("--threads", type=int, help="CPU threads. [default: all cores]"),
    click.option(
        "--report-to", metavar="NAME,…", callback=_names, help="Also log to tensorboard and others."
    ),
    click.option("--save-every", type=int, metavar="STEPS", help="[default: ten times a run]"),
    click.option("--keep", type=int, default=1, show_default=True, metavar="N", help="Saved steps to keep."),
    click.option(
        "--samples", type=int, default=3, show_default=True, help="Sample replies after each evaluation."
    ),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of RunOptions, --resume beside them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run(
    ctx: click.Context,
    kind: type[Options],
    train: Callable[..., Result[Any]],
    resume: bool,
    options: dict[str, Any],
    source: str,
    use: str,
) -> None:
    """Train with `options`, or go on with a run; show it, and remember the model.

    source  the option that names the data
    use     the command that a finished model is for
    """
    from chatgpt2.cli.progress import Screen

    settings = _resumed(ctx, kind, options, source) if resume else _new(kind, options, source)
    first = os.environ.get("RANK", "0") == "0"
    screen = Screen(settings, use, quiet=not first)
    result = train(settings, data_folder() / "tokens", screen, resume=resume)
    if first:
        if kind.command == "train-dialog":
            note_latest(result.out)
        screen.conclude(result)
    if not result.finished:
        ctx.exit(130)


def _new(kind: type[Options], options: dict[str, Any], source: str) -> Options:
    from chatgpt2.training.run import with_whole_paths

    out = options.pop("out") or _default_out(options[source][0])
    return with_whole_paths(kind(out=out, **options))


def _resumed(ctx: click.Context, kind: type[Options], options: dict[str, Any], source: str) -> Options:
    from chatgpt2.errors import ConfigError
    from chatgpt2.training.run import resumed_options

    if options["out"] is None:
        raise ConfigError("--resume needs --out: the folder of the run")
    given = {key: value for key, value in options.items() if _is_given(ctx, key) and key != source}
    if options[source] and any(_is_given(ctx, name) for name in (source, "train")):
        given[source] = options[source]
    return resumed_options(kind, {**given, "out": options["out"]})


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
