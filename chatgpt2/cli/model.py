"""`chatgpt2 model`: look at a model directory, take it apart, put it together, export and convert it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.errors import CheckpointError

if TYPE_CHECKING:
    from chatgpt2.checkpoint import AnyCheckpoint
    from chatgpt2.heads import Judge
    from chatgpt2.surgery import Description

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

    found = open_any(directory)
    if tree:
        click.echo(str(found.model))
        return
    facts, made = _facts(found), describe(found.model)
    if as_json:
        click.echo(json.dumps({**facts, **asdict(made)}, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
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
    "--vocabulary", type=_FOLDER, help="The model's vocab.txt. [default: the one beside the weights]"
)
@_OUT
@_FORCE
def convert(source: Path, vocabulary: Path | None, out: Path, force: bool) -> None:
    """Make a plain model of an older or foreign one: GPT2-chitchat, old pytorch_model.bin, UER, CDial."""
    from chatgpt2.surgery import convert as make_plain

    for note in make_plain(source, out, vocabulary=vocabulary, force=force).notes:
        click.echo(f"• {note}")
    click.echo(f"{out}: loads here and in transformers.")
    click.echo(f"Next: chatgpt2 chat --model {out}")


@model.command("merge")
@click.argument("directory", metavar="DIR", type=_FOLDER)
@_OUT
@_FORCE
def merge(directory: Path, out: Path, force: bool) -> None:
    """Merge the LoRA adapter in DIR into its base, and write a plain model that needs neither."""
    from chatgpt2.checkpoint import is_adapter, load_any, save_checkpoint
    from chatgpt2.surgery.place import fresh_folder

    if directory.is_dir() and not is_adapter(directory):
        raise CheckpointError(f"{directory} is no LoRA adapter (no adapter_config.json): nothing to merge")
    with fresh_folder(out, force=force, source=directory) as draft:
        merged = load_any(directory)
        save_checkpoint(draft, merged.model, merged.codec, merged.card)
    click.echo(f"{out}: {_millions(merged)} M parameters, loads without its adapter and its base.")
    use = "chat --model" if merged.card.objective == "dialogue" else "generate"
    click.echo(f"Next: chatgpt2 {use} {out}")


def _facts(found: AnyCheckpoint | Judge) -> dict[str, Any]:
    assert found.path is not None
    config, card = found.model.config, asdict(found.card)
    files = [path.stat().st_size for path in found.path.iterdir() if path.is_file()]
    return {
        "path": str(found.path),
        "kind": _kind(found),
        "megabytes": round(sum(files) / 1e6, 1),
        "parameters": found.model.num_parameters(),
        "shape": f"{config.n_layer} layers × {config.n_embd}, {config.n_head} heads",
        "entries": len(found.codec.vocabulary),
        **card,
        "tokenizer": _tokenizer(found),
    }


def _kind(found: AnyCheckpoint | Judge) -> str:
    from chatgpt2.checkpoint import is_adapter
    from chatgpt2.heads import Judge

    if isinstance(found, Judge):
        return f"{found.head}: {', '.join(found.labels)}"
    assert found.path is not None
    return "LoRA adapter" if is_adapter(found.path) else "model"


def _tokenizer(found: AnyCheckpoint | Judge) -> str:
    from chatgpt2.textcodec import TextCodec

    codec = found.codec
    kind = codec.kind if isinstance(codec, TextCodec) else "bert"
    spare = found.model.config.vocab_size - len(codec.vocabulary)
    ends = " ".join(codec.vocabulary[number] for number in codec.stop_ids)
    rows = f", {spare:,} rows of the embedding belong to none" if spare else ""
    return f"{kind}, window {codec.window:,}, a text ends with {ends or 'nothing'}{rows}"


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


def _millions(found: AnyCheckpoint) -> str:
    return f"{found.model.num_parameters() / 1e6:.1f}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, tuple):
        return " / ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
