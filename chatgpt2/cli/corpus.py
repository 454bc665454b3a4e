"""`chatgpt2 corpus check`: what is in dialogue files; `chatgpt2 init-corpus`: the bundled ones."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.corpus import FORMATS
from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from chatgpt2.codec import Codec
    from chatgpt2.corpus.report import CorpusReport, Figures, FileReport

SHOWN_PROBLEMS = 10
SHOWN_CHARACTERS = 15


@click.group("corpus")
def corpus() -> None:
    """Look into dialogue files before training on them."""


@corpus.command("check")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--vocabulary",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A vocab.txt, or a model directory. [default: the shipped one]",
)
@click.option("--length", default=512, show_default=True, help="The model's length in tokens.")
@click.option(
    "--format", type=click.Choice(FORMATS), help="Read every file so. [default: as its content tells]"
)
@click.option("--keep-system", is_flag=True, help="Keep system texts at the beginning of the user's turn.")
@click.option("--skip-bad", is_flag=True, help="Exit with status 0 although there are bad records.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(
    ctx: click.Context,
    paths: tuple[Path, ...],
    vocabulary: Path | None,
    length: int,
    format: str | None,
    keep_system: bool,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Tell, per file, format, encoding, sizes, duplicates, unknown characters and bad records.

    Exits with status 1 when there are bad records, a file cannot be read, or no dialogue was found.
    """
    from rich.console import Console

    from chatgpt2.corpus.report import check_corpus

    codec = _codec(vocabulary, length)
    with Console(stderr=True).status("Reading …") as status:
        report = check_corpus(
            paths,
            codec,
            format=format,
            keep_system=keep_system,
            progress=lambda path, count: status.update(f"{path}: {count:,} dialogues …"),
        )
    if as_json:
        click.echo(json.dumps(_as_object(report), ensure_ascii=False, indent=2))
    else:
        _show(report, _console())
    failed = any(file.error for file in report.files) or not report.total.dialogues
    if failed or (report.bad and not skip_bad):
        ctx.exit(1)


@click.command("init-corpus")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite files that are there already.")
def init_corpus(folder: Path, force: bool) -> None:
    """Write the Chinese dialogues that come with chatgpt2, and the guide to formats, to DIR."""
    from chatgpt2.corpus import bundled_corpus

    sources = sorted(path for path in bundled_corpus().iterdir() if path.suffix in (".txt", ".md"))
    taken = [folder / path.name for path in sources if (folder / path.name).exists()]
    if taken and not force:
        raise ConfigError(f"{taken[0]} is there already; choose another folder, or overwrite with --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in sources:
            (folder / path.name).write_bytes(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}); choose another folder") from error
    click.echo(f"Wrote {len(sources)} files to {folder}. README.md tells how to add your own dialogues.")
    click.echo(f"Next: chatgpt2 train-dialog {shlex.quote(str(folder))}")


def _codec(vocabulary: Path | None, length: int) -> Codec:
    from chatgpt2.codec import Codec
    from chatgpt2.vocabulary import default_vocabulary, load_vocabulary

    if vocabulary is None:
        return Codec(default_vocabulary(), window=length)
    if vocabulary.is_dir():
        loaded = Codec.load(vocabulary)
        return Codec(loaded.vocabulary, length, loaded.lowercase)
    return Codec(load_vocabulary(vocabulary), window=length)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _show(report: CorpusReport, console: Console) -> None:
    from rich.table import Table

    if report.files:
        what = Table("file", "format", "encoding", title="What is in it", title_justify="left")
        fit = Table("file", title=f"At a length of {report.length} tokens", title_justify="left")
        for name in ("dialogues", "turns", "characters", "one turn", "duplicates", "bad"):
            what.add_column(name, justify="right")
        for name in ("mean", "50 %", "90 %", "95 %", "99 %", "longest", "split", "turns cut", "unknown"):
            fit.add_column(name, justify="right")
        for file in report.files:
            bad = f"[red]{file.tally.bad:,}[/]" if file.tally.bad else "0"
            what.add_row(file.path.name, file.format or "-", file.encoding or "-", *_sizes(file.figures), bad)
            fit.add_row(file.path.name, *_fit(file.figures))
        if len(report.files) > 1:
            what.add_section()
            what.add_row("together", "", "", *_sizes(report.total), f"{report.bad:,}")
            fit.add_section()
            fit.add_row("together", *_fit(report.total))
        console.print(what, fit)
    for line in _remarks(report):
        console.print(line, markup=False, soft_wrap=True)


def _sizes(figures: Figures) -> list[str]:
    counts = (figures.dialogues, figures.turns, figures.characters, figures.single, figures.duplicates)
    return [f"{count:,}" for count in counts]


def _fit(figures: Figures) -> list[str]:
    lengths = [f"{length:,}" for length in (*figures.percentiles.values(), figures.longest)]
    shares = (figures.split_share, figures.cut_share, figures.outside_share)
    return [f"{figures.mean_length:.1f}", *lengths, *(f"{share:.2%}" for share in shares)]


def _remarks(report: CorpusReport) -> list[str]:
    lines = [line for file in report.files for line in _file_remarks(file)]
    lines += [f"Passed over {path}: {why}." for path, why in report.skipped]
    if not report.total.dialogues:
        lines.append("No dialogue was found: there is nothing to train on here.")
    return lines


def _file_remarks(file: FileReport) -> list[str]:
    tally = file.tally
    lines = [f"{file.path}, line {line}: {problem}" for line, problem in file.problems[:SHOWN_PROBLEMS]]
    if tally.bad > SHOWN_PROBLEMS:
        lines.append(f"{file.path}: {tally.bad - SHOWN_PROBLEMS:,} more bad records (--json lists 100)")
    if top := file.figures.outside_top[:SHOWN_CHARACTERS]:
        shown = "  ".join(f"{_visible(char)} ×{count:,}" for char, count in top)
        lines.append(f"{file.path}: characters outside the vocabulary: {shown}")
    if file.error:
        lines.append(f"{file.path}: {file.error}")
    said = (
        (tally.empty, "records without text left out"),
        (tally.merged, "turns merged with the same speaker's turn before"),
        (tally.system, "system texts met (dropped, or kept with --keep-system)"),
        (tally.tool, "messages to and from tools dropped"),
    )
    lines += [f"{file.path}: {count:,} {what}" for count, what in said if count]
    return lines


def _visible(char: str) -> str:
    return char if char.isprintable() else f"U+{ord(char):04X}"


def _as_object(report: CorpusReport) -> dict[str, Any]:
    return {
        "length": report.length,
        "files": [_file_object(file) for file in report.files],
        "total": {**_figures_object(report.total), "bad": report.bad},
        "passed_over": [{"path": str(path), "why": why} for path, why in report.skipped],
    }


def _file_object(file: FileReport) -> dict[str, Any]:
    tally = file.tally
    return {
        "path": str(file.path),
        "format": file.format,
        "encoding": file.encoding,
        **_figures_object(file.figures),
        "empty": tally.empty,
        "merged": tally.merged,
        "system": tally.system,
        "tool": tally.tool,
        "bad": tally.bad,
        "bad_records": [{"line": line, "problem": problem} for line, problem in file.problems],
        "error": file.error,
    }


def _figures_object(figures: Figures) -> dict[str, Any]:
    return {
        **asdict(figures),
        "percentiles": {f"p{p}": length for p, length in figures.percentiles.items()},
        "split_share": figures.split_share,
        "cut_share": figures.cut_share,
        "outside_share": figures.outside_share,
        "outside_top": dict(figures.outside_top),
    }
