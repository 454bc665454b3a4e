"""`chatgpt2 chat`: talk to a model in the terminal."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from chatgpt2.cli.home import default_database_url
from chatgpt2.cli.options import chosen_model, sampling_options, serving_options
from chatgpt2.engine.base import EngineOptions


@click.command("chat")
@click.option("--session", default="default", show_default=True, help="Which conversation to go on with.")
@click.option("--once", metavar="TEXT", help="Answer TEXT on stdout and leave.")
@sampling_options
@serving_options
def chat(
    model: str | None,
    session: str,
    once: str | None,
    database: str | None,
    engine: EngineOptions,
    sampling: dict[str, Any],
) -> None:
    """Talk to a trained model.

    At a terminal: /help lists the commands, Ctrl-C stops a reply, Ctrl-D leaves. Otherwise each line of
    stdin is a message, and each reply a line of stdout. The conversation is kept and goes on next time.

    A setting given here wins over the session's own (/set), which wins over the model's, which wins over
    the default.
    """
    from chatgpt2.cli.bot_settings import bot_settings
    from chatgpt2.cli.talk import Talk, talk

    path, latest = chosen_model(model)
    url = database or default_database_url()
    asyncio.run(talk(Talk(path, latest, session, url, engine, sampling, bot_settings("terminal")), once))
