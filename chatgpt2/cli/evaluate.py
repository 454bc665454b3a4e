"""`chatgpt2 evaluate`: how good a model is on text that it has not learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.cli.home import data_folder
from chatgpt2.cli.options import engine_options, sampling_options
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from chatgpt2.assessment import Evaluation

_FILE = click.Path(path_type=Path)


@click.command("evaluate")
@click.argument("model", metavar="MODEL")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=_FILE)
@click.option("--compare", metavar="OTHER", help="Evaluate this model too, side by side.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["auto", "dialogues", "stream", "lines", "records"]),
    default="auto",
    show_default=True,
    help="What PATH holds: dialogues; running text; a text per line or record; a text per paragraph or record; auto: "
    "what the model has learned.",
)
@click.option("--field", metavar="NAME_OR_NUMBER", help="Which column or field of a record is the text.")
@click.option("--clean", is_flag=True, help="Tidy texts as `train-text --clean` does.")
@click.option(
    "--replies",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Prompts to answer, each the last answer of a dialogue; 0: look at the loss only.",
)
@click.option(
    "--learn",
    type=click.Choice(["all", "bot"]),
    default="all",
    show_default=True,
    help="Whose turns count for the loss.",
)
@click.option(
    "--json", "report", metavar="FILE", type=_FILE, help="Write the figures there as one JSON object."
)
@click.option("--plot", metavar="FILE", type=_FILE, help="Draw them there (PNG).")
@click.option(
    "--card/--no-card", default=True, help="Write them into README.md of MODEL's directory, with a picture."
)
@click.option("--format", "format", help="Read PATH as this format. [default: seen from its content]")
@click.option("--skip-bad", is_flag=True, help="Leave bad records out and say so, instead of stopping.")
@sampling_options
@engine_options
def evaluate(
    model: str,
    paths: tuple[Path, ...],
    compare: str | None,
    kind: Any,
    field: str | None,
    clean: bool,
    replies: int,
    learn: Any,
    report: Path | None,
    plot: Path | None,
    card: bool,
    format: str | None,
    skip_bad: bool,
    engine: EngineOptions,
    sampling: dict[str, Any],
) -> None:
    """Measure MODEL on the dialogues or texts in PATH…, which it must not have learned from.

    Loss, perplexity per token and per character (only the last can be compared between vocabularies), and
    figures of its replies beside those of the people's, with 95 % intervals. The same --seed (0, unless given)
    asks the same prompts.
    """
    from chatgpt2.assessment import Options, kind_for, plotted
    from chatgpt2.assessment import compare as tell_apart
    from chatgpt2.assessment import evaluate as measure
    from chatgpt2.cli.progress import Meter

    seed = sampling.pop("seed", 0)
    models = (model, *filter(None, [compare]))
    if compare:
        kind = kind_for(models, kind)
    options = Options(kind, replies, learn, seed, format, field, clean, skip_bad, sampling, engine)
    with Meter() as meter:
        found = [measure(name, paths, options, cache=data_folder(), watcher=meter) for name in models]
    both = tell_apart(found[0], found[1], seed) if len(found) == 2 else None
    _show(found)
    if both is not None:
        low, high = both.low or both.value, both.high or both.value
        click.echo(
            f"Perplexity per character, {_name(found[1])} over {_name(found[0])}: "
            f"{both.value:.3f} [{low:.3f}, {high:.3f}]{_verdict(low, high)}"
        )
    if report:
        _write_report(report, found, both)
    if plot:
        plotted(plot, *found)
        click.echo(f"Written: {plot}")
    if card:
        _write_cards(found)


def _show(found: list[Evaluation]) -> None:
    from rich.console import Console
    from rich.table import Table

    from chatgpt2.assessment.card import shown
    from chatgpt2.assessment.result import NAMES

    data, people = found[0].data, found[0].people
    table = Table(
        "", title=f"{data.items:,} {data.kind}, {data.characters:,} characters", title_justify="left"
    )
    for each in found:
        table.add_column(_name(each), justify="right")
    if people:
        table.add_column("people", justify="right")
    for key, (name, _) in NAMES.items():
        if key in found[0].figures:
            cells = [shown(key, each.figures[key]) for each in found]
            own = [shown(key, people[key]) if key in people else ""] if people else []
            table.add_row(name, *cells, *own)
    table.add_row("parameters", *(f"{each.parameters / 1e6:.1f} M" for each in found))
    table.add_row("unknown tokens", *(f"{each.data.unknown:.2%}" for each in found))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=160)).print(table)


def _name(evaluation: Evaluation) -> str:
    return Path(evaluation.model).name or evaluation.model


def _verdict(low: float, high: float) -> str:
    return "" if low > 1 or high < 1 else ": no difference shown"


def _write_report(path: Path, found: list[Evaluation], both: Any) -> None:
    from dataclasses import asdict

    whole: dict[str, Any] = found[0].as_object()
    if len(found) == 2:
        whole["compared"] = found[1].as_object()
        whole["perplexity_per_character_ratio"] = asdict(both) if both else None
    text = json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
    try:
        if str(path) == "-":
            click.echo(text, nl=False)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {path} cannot be written ({error.strerror}): give another file") from error
    click.echo(f"Written: {path}")


def _write_cards(found: list[Evaluation]) -> None:
    from chatgpt2.assessment.card import write_card

    for each in found:
        directory = Path(each.model).expanduser()
        if directory.is_dir():  # one from the hub lies in a cache that is not ours to write in
            click.echo(f"Written: {write_card(directory, each)}")
