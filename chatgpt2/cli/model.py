"""`chatgpt2 model`: look at a model directory, take it apart, put it together, export and convert it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chatgpt2.surgery import Description
    from chatgpt2.surgery.spoken import Objective

_FOLDER = click.Path(path_type=Path)
_OUT = click.option("-o", "--out", required=True, type=_FOLDER, help="Where the result goes.")
_FORCE = click.option("--force", is_flag=True, help="Overwrite what is there.")


@click.group("model")
def model() -> None:
    """Look at a model, take it apart, put it together, export and convert it.

    What is written appears whole or not at all.
    """


@model.command("show")
@click.argument("directory", metavar="DIR")
@click.option("--tree", is_flag=True, help="Print the modules as torch does.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(directory: str, tree: bool, as_json: bool) -> None:
    """Say what the model in DIR is made of, what it needs, how it was trained and how good it is."""
    from chatgpt2.heads import open_any
    from chatgpt2.surgery import describe

    if tree:
        click.echo(str(open_any(directory).model))
        return
    made = describe(directory)
    if as_json:
        click.echo(json.dumps(made.as_object(), ensure_ascii=False, indent=2))
        return
    for name, value in made.facts.items():
        if value not in ({}, "", None, ()):
            click.echo(f"{name:>16}  {_shown(value)}")
    _show_parts(made)


@model.command("split")
@click.argument("directory", metavar="DIR")
@click.option("--part", required=True, type=click.Choice(["lm-head", "backbone"]))
@_OUT
@_FORCE
def split(directory: str, part: str, out: Path, force: bool) -> None:
    """Write one part of the model in DIR to a safetensors file."""
    from chatgpt2.surgery import split as cut

    done = cut(directory, part, out, force=force)
    click.echo(
        f"{out}: {done.tensors} tensor{'s'[: done.tensors != 1]}, {done.parameters / 1e6:.1f} M parameters."
    )
    if done.tied:
        click.echo(
            "lm_head.weight and transformer.wte.weight are one matrix in this model (tied); the file has a copy."
        )
    click.echo(f"Next: chatgpt2 model join {directory} {out} -o OUT")


@model.command("join")
@click.argument("directory", metavar="DIR")
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=_FOLDER)
@click.option(
    "--tie/--untie",
    default=None,
    help="Make head and token embedding one matrix, or two. [default: one where they are equal and were one before]",
)
@_OUT
@_FORCE
def join(directory: str, files: tuple[Path, ...], tie: bool | None, out: Path, force: bool) -> None:
    """Put parts that `split` wrote into the model in DIR, which gives all else, and write the whole."""
    from chatgpt2.surgery import join as put_together

    tied = put_together(directory, files, out, tie=tie, force=force)
    how = "are one matrix (tied)" if tied else "are two matrices (not tied)"
    click.echo(f"{out}: head and token embedding {how}.")
    click.echo(f"Next: chatgpt2 model show {out}")


@model.command("export")
@click.argument("directory", metavar="DIR")
@click.option("--to", required=True, type=click.Choice(["openvino", "onnx", "safetensors"]))
@click.option(
    "--weights",
    type=click.Choice(["fp32", "fp16", "bf16", "int8", "int4"]),
    help="openvino: int8 (default), int4, fp32; onnx: fp32; safetensors: fp32 (default), fp16, bf16.",
)
@_OUT
@_FORCE
def export(directory: str, to: str, weights: str | None, out: Path, force: bool) -> None:
    """Write the model in DIR in a format of other programs, with its tokenizer."""
    from chatgpt2.surgery import export as write

    precision = write(directory, out, to, weights=weights, force=force)
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    click.echo(f"{out}: {to}, {precision}, {size / 1e6:.1f} MB.")


@model.command("resize-vocabulary")
@click.argument("directory", metavar="DIR")
@click.option("--vocabulary", type=_FOLDER, help="vocab.txt that the model is to have instead of its own.")
@click.option("--add", metavar="TOKEN", multiple=True, help="Add this entry; may be repeated.")
@_OUT
@_FORCE
def resize(directory: str, vocabulary: Path | None, add: tuple[str, ...], out: Path, force: bool) -> None:
    """Give the model in DIR another vocabulary. Entries that both have keep what was learned of them."""
    from chatgpt2.surgery import resize_vocabulary
    from chatgpt2.vocabulary import load_vocabulary

    entries = load_vocabulary(vocabulary) if vocabulary else None
    done = resize_vocabulary(directory, out, vocabulary=entries, add=add, force=force)
    click.echo(f"{out}: {done.kept:,} entries kept, {done.added:,} added, {done.removed:,} removed.")
    click.echo(f"Next: chatgpt2 train-dialog CORPUS --base {out}")


@model.command("convert")
@click.argument("source", metavar="DIR_OR_FILE", type=_FOLDER)
@click.option(
    "--vocabulary", type=_FOLDER, help="The model's vocab.txt. [default: the tokenizer beside the weights]"
)
@click.option(
    "--objective",
    type=click.Choice(["dialogue", "text"]),
    help="Whether the model answers or goes on with texts. [default: told from its files]",
)
@_OUT
@_FORCE
def convert(
    source: Path, vocabulary: Path | None, objective: Objective | None, out: Path, force: bool
) -> None:
    """Make a plain model of an older or foreign one: GPT2-chitchat, English GPT-2, old files, UER, CDial."""
    from chatgpt2.surgery import convert as make_plain

    done = make_plain(source, out, vocabulary=vocabulary, objective=objective, force=force)
    for note in done.notes:
        click.echo(f"• {note}")
    click.echo(f"{out}: loads here and in transformers.")
    click.echo(f"Next: chatgpt2 {'chat --model' if done.objective == 'dialogue' else 'generate'} {out}")


@model.command("merge")
@click.argument("directory", metavar="DIR", type=_FOLDER)
@_OUT
@_FORCE
def merge(directory: Path, out: Path, force: bool) -> None:
    """Merge the LoRA adapter in DIR into its base, and write a plain model that needs neither."""
    from chatgpt2.surgery import merge as make_one

    made = make_one(directory, out, force=force)
    click.echo(f"{out}: {made.parameters / 1e6:.1f} M parameters, loads without its adapter and its base.")
    use = "chat --model" if made.objective == "dialogue" else "generate"
    click.echo(f"Next: chatgpt2 {use} {out}")


def _show_parts(made: Description) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "modules", "parameters", "shapes", box=None, padding=(0, 2))
    for part in made.parts:
        count = f"shared with the {part.shared}" if part.shared else f"{part.parameters:,}"
        shapes = ", ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in part.shapes.items())
        table.add_row(part.name, str(part.count), count, shapes)
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=200)).print("", table, "")
    serve = ", ".join(f"{way} {size / 2**20:,.0f} MB" for way, size in made.serve.items())
    click.echo(
        f"{'to train':>16}  about {made.train / 2**20:,.0f} MB beside the program, in steps of 1,024 tokens"
    )
    click.echo(f"{'to serve':>16}  about {serve}, with one full window")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, tuple):
        return " / ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
