"""The options that chat and serve share: which model, which engine, which database."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chatgpt2.engine.base import EngineOptions

_OPTIONS = (
    click.option("--model", metavar="DIR", help="A model's directory or hub name. [default: the latest]"),
    click.option(
        "--database",
        metavar="URL",
        envvar="CHATGPT2_DATABASE",
        help="Where sessions are kept. [default: in the data folder]",
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "openvino", "pytorch", "remote"]),
        default="auto",
        envvar="CHATGPT2_ENGINE",
        show_default=True,
        help="What computes; auto: openvino on a CPU, pytorch on a GPU, remote with --engine-url.",
    ),
    click.option(
        "--weights",
        type=click.Choice(["int8", "int4", "fp32"]),
        default="int8",
        envvar="CHATGPT2_ENGINE_WEIGHTS",
        show_default=True,
        help="Precision of the openvino engine's weights.",
    ),
    click.option(
        "--engine-url",
        metavar="URL",
        envvar="CHATGPT2_ENGINE_URL",
        help="The remote engine's server (vLLM, or another chatgpt2). Its key is read from CHATGPT2_ENGINE_KEY.",
    ),
    click.option(
        "--engine-model",
        metavar="NAME",
        envvar="CHATGPT2_ENGINE_MODEL",
        help="What the model is called there. [default: the first that it serves]",
    ),
    click.option(
        "--device", default="auto", show_default=True, help="Where the model runs: cpu, cuda, cuda:1 …"
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [default: all cores]"),
)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; it gets `model`, `database` and, for the others, `engine: EngineOptions`."""

    @functools.wraps(command)
    def wrapped(
        engine: str,
        weights: Any,
        engine_url: str | None,
        engine_model: str | None,
        device: str,
        threads: int | None,
        **others: Any,
    ) -> Any:
        key = os.environ.get("CHATGPT2_ENGINE_KEY")
        options = EngineOptions(engine, weights, device, threads, engine_url, engine_model, key)
        return command(engine=options, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def chosen_model(given: str | None) -> tuple[str, bool]:
    """The model to talk to, and whether it is the latest one rather than one asked for."""
    from chatgpt2.cli.home import latest_model
    from chatgpt2.errors import CheckpointError

    if given is not None:
        return given, False
    found = latest_model()
    if found is None:
        raise CheckpointError(
            "No model has been trained here yet: run `chatgpt2 train-dialog CORPUS`, or give --model DIR."
        )
    if not found.is_dir():
        raise CheckpointError(
            f"The latest model, {found}, is gone: give --model DIR, or run `chatgpt2 train-dialog CORPUS`."
        )
    return _short(found), True


def _short(path: Path) -> str:
    """The path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
