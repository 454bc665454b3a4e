"""The options that several commands share: which model, which engine, which database, how to sample."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from chatgpt2.engine.base import EngineOptions, SamplingParams

_SOURCES = (
    click.option("--model", metavar="DIR", help="A model's directory or hub name. [default: the latest]"),
    click.option(
        "--database",
        metavar="URL",
        envvar="CHATGPT2_DATABASE",
        help="Where sessions are kept. [default: in the data folder]",
    ),
)
_ENGINE = (
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


_SERVICE = (
    click.option(
        "--grace",
        type=click.IntRange(0),
        default=30,
        show_default=True,
        help="Seconds that running replies have at the end.",
    ),
    click.option(
        "--timeout",
        type=click.IntRange(1),
        default=300,
        show_default=True,
        help="Seconds that a reply may take; then it is given up, and nothing of it is kept.",
    ),
    click.option(
        "--blocked-words",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A file of words, one a line, that are neither answered nor said.",
    ),
    click.option(
        "--keep-days",
        type=click.IntRange(1),
        help="Delete what was said longer ago, now and once an hour. [default: keep everything]",
    ),
)
_SAMPLING = {
    "temperature": click.option("--temperature", type=float, help="0 always takes the most likely token."),
    "top_k": click.option("--top-k", type=int, help="Choose among the k most likely tokens; 0: all."),
    "top_p": click.option(
        "--top-p", type=float, help="Choose among the likeliest tokens that make up this probability."
    ),
    "repetition_penalty": click.option("--repetition-penalty", type=float, help="Above 1 repeats less."),
    "no_repeat_ngram": click.option(
        "--no-repeat-ngram", type=int, help="Never say the same n tokens in a row twice; 0: off."
    ),
    "max_new_tokens": click.option("--max-new-tokens", type=int, help="The longest reply."),
    "seed": click.option("--seed", type=int, help="The same seed gives the same reply."),
}


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of EngineOptions; it gets `engine: EngineOptions`."""

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

    return _with(_ENGINE, wrapped)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `model`, `database` and the options of an engine."""
    return _with(_SOURCES, engine_options(command))


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that answers strangers for a long time `grace`, `timeout`, `blocked_words` and `keep_days`."""
    return _with(_SERVICE, command)


def sampling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the settings of SamplingParams; it gets `sampling`, a dict of those that were given.

    Raises ConfigError when one is wrong, before anything is loaded.
    """

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        given = {name: options.pop(name) for name in _SAMPLING}
        sampling = {name: value for name, value in given.items() if value is not None}
        SamplingParams(**sampling)
        return command(sampling=sampling, **options)

    return _with(tuple(_SAMPLING.values()), wrapped)


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


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
