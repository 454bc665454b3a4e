"""`chatgpt2 model`: look at a model directory, or merge a LoRA adapter into its base."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from chatgpt2.checkpoint import Checkpoint

_FOLDER = click.Path(path_type=Path)


@click.group("model")
def model() -> None:
    """Look at a model directory, or merge a LoRA adapter into its base."""


@model.command("show")
@click.argument("directory", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(directory: str, as_json: bool) -> None:
    """Say what the model in DIR is, how it was trained and how good it is."""
    from chatgpt2.checkpoint import load_checkpoint

    facts = _facts(load_checkpoint(directory))
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for name, value in facts.items():
        if value not in ({}, "", None, ()):
            click.echo(f"{name:>16}  {_shown(value)}")


@model.command("merge")
@click.argument("directory", metavar="DIR", type=_FOLDER)
@click.option("-o", "--out", required=True, type=_FOLDER, help="Where the whole model goes.")
def merge(directory: Path, out: Path) -> None:
    """Merge the LoRA adapter in DIR into its base, and write a plain model that needs neither."""
    from chatgpt2.checkpoint import is_adapter, load_checkpoint, save_checkpoint

    if directory.is_dir() and not is_adapter(directory):
        raise CheckpointError(f"{directory} is no LoRA adapter (no adapter_config.json): nothing to merge")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} is not an empty folder: choose another")
    merged = load_checkpoint(directory)
    save_checkpoint(out, merged.model, merged.codec, merged.card)
    click.echo(f"{out}: {_millions(merged)} M parameters, loads without its adapter and its base.")
    click.echo(f"Next: chatgpt2 chat --model {out}")


def _facts(found: Checkpoint) -> dict[str, Any]:
    from chatgpt2.checkpoint import is_adapter

    assert found.path is not None
    config, card = found.model.config, asdict(found.card)
    files = [path.stat().st_size for path in found.path.iterdir() if path.is_file()]
    return {
        "path": str(found.path),
        "kind": "LoRA adapter" if is_adapter(found.path) else "model",
        "megabytes": round(sum(files) / 1e6, 1),
        "parameters": found.model.num_parameters(),
        "shape": f"{config.n_layer} layers × {config.n_embd}, {config.n_head} heads",
        "entries": len(found.codec.vocabulary),
        **card,
    }


def _millions(found: Checkpoint) -> str:
    return f"{found.model.num_parameters() / 1e6:.1f}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, tuple):
        return " / ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
