"""`chatgpt2 chat`: talk to a model in the terminal."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from chatgpt2.cli.home import default_database_url
from chatgpt2.engine.base import Weights


@click.command("chat")
@click.option("--model", metavar="DIR", help="A model's directory or hub name. [default: the latest]")
@click.option("--session", default="default", show_default=True, help="Which conversation to go on with.")
@click.option("--once", metavar="TEXT", help="Answer TEXT on stdout and leave.")
@click.option("--temperature", type=float, help="0 always takes the most likely token.")
@click.option("--top-k", type=int, help="Choose among the k most likely tokens; 0: all.")
@click.option("--top-p", type=float, help="Choose among the likeliest tokens that make up this probability.")
@click.option("--repetition-penalty", type=float, help="Above 1 repeats less.")
@click.option("--no-repeat-ngram", type=int, help="Never say the same n tokens in a row twice; 0: off.")
@click.option("--max-new-tokens", type=int, help="The longest reply.")
@click.option("--seed", type=int, help="The same seed gives the same reply.")
@click.option(
    "--database",
    metavar="URL",
    envvar="CHATGPT2_DATABASE",
    help="Where sessions are kept. [default: in the data folder]",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "pytorch", "remote"]),
    default="auto",
    envvar="CHATGPT2_ENGINE",
    show_default=True,
    help="What computes; auto: openvino on a CPU, pytorch on a GPU, remote with --engine-url.",
)
@click.option(
    "--weights",
    type=click.Choice(["int8", "int4", "fp32"]),
    default="int8",
    envvar="CHATGPT2_ENGINE_WEIGHTS",
    show_default=True,
    help="Precision of the openvino engine's weights.",
)
@click.option(
    "--engine-url",
    metavar="URL",
    envvar="CHATGPT2_ENGINE_URL",
    help="The remote engine's server (vLLM). Its key is read from CHATGPT2_ENGINE_KEY.",
)
@click.option(
    "--engine-model",
    metavar="NAME",
    envvar="CHATGPT2_ENGINE_MODEL",
    help="What the model is called there. [default: the first that it serves]",
)
@click.option("--device", default="auto", show_default=True, help="Where the model runs: cpu, cuda, cuda:1 …")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [default: all cores]")
def chat(
    model: str | None,
    session: str,
    once: str | None,
    database: str | None,
    engine: str,
    weights: Weights,
    engine_url: str | None,
    engine_model: str | None,
    device: str,
    threads: int | None,
    **sampling: Any,
) -> None:
    """Talk to a trained model.

    At a terminal: /help lists the commands, Ctrl-C stops a reply, Ctrl-D leaves. Otherwise each line of
    stdin is a message, and each reply a line of stdout. The conversation is kept and goes on next time.

    A setting given here wins over the session's own (/set), which wins over the model's, which wins over
    the default.
    """
    from chatgpt2.cli.talk import Talk, talk
    from chatgpt2.engine.base import EngineOptions, SamplingParams

    path, latest = _model(model)
    chosen = {name: value for name, value in sampling.items() if value is not None}
    SamplingParams(**chosen)  # tells what is wrong before anything is loaded
    serving = EngineOptions(
        engine, weights, device, threads, engine_url, engine_model, os.environ.get("CHATGPT2_ENGINE_KEY")
    )
    url = database or default_database_url()
    asyncio.run(talk(Talk(path, latest, session, url, serving, chosen), once))


def _model(given: str | None) -> tuple[str, bool]:
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
