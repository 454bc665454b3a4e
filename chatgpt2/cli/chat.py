"""`chatgpt2 chat`: talk to a model in the terminal."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from chatgpt2.cli.home import default_database_url
from chatgpt2.cli.options import chosen_model, serving_options
from chatgpt2.engine.base import EngineOptions


@click.command("chat")
@click.option("--session", default="default", show_default=True, help="Which conversation to go on with.")
@click.option("--once", metavar="TEXT", help="Answer TEXT on stdout and leave.")
@click.option("--temperature", type=float, help="0 always takes the most likely token.")
@click.option("--top-k", type=int, help="Choose among the k most likely tokens; 0: all.")
@click.option("--top-p", type=float, help="Choose among the likeliest tokens that make up this probability.")
@click.option("--repetition-penalty", type=float, help="Above 1 repeats less.")
@click.option("--no-repeat-ngram", type=int, help="Never say the same n tokens in a row twice; 0: off.")
@click.option("--max-new-tokens", type=int, help="The longest reply.")
@click.option("--seed", type=int, help="The same seed gives the same reply.")
@serving_options
def chat(
    model: str | None,
    session: str,
    once: str | None,
    database: str | None,
    engine: EngineOptions,
    **sampling: Any,
) -> None:
    """Talk to a trained model.

    At a terminal: /help lists the commands, Ctrl-C stops a reply, Ctrl-D leaves. Otherwise each line of
    stdin is a message, and each reply a line of stdout. The conversation is kept and goes on next time.

    A setting given here wins over the session's own (/set), which wins over the model's, which wins over
    the default.
    """
    from chatgpt2.cli.talk import Talk, talk
    from chatgpt2.engine.base import SamplingParams

    path, latest = chosen_model(model)
    chosen = {name: value for name, value in sampling.items() if value is not None}
    SamplingParams(**chosen)  # tells what is wrong before anything is loaded
    url = database or default_database_url()
    asyncio.run(talk(Talk(path, latest, session, url, engine, chosen), once))
