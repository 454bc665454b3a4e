"""`chatgpt2 bot`: run a bot by itself, or log it in."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.cli.bot_settings import open_bots
from chatgpt2.cli.home import data_folder, default_database_url
from chatgpt2.cli.options import chosen_model, service_options, serving_options
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import AdapterError

if TYPE_CHECKING:
    from chatgpt2.gateway import Bot


@click.group("bot")
def bot() -> None:
    """Run a bot by itself, or log it in. `chatgpt2 serve --bot NAME` runs it beside the HTTP server."""


@bot.command("run")
@click.argument("names", metavar="NAME", nargs=-1, required=True)
@service_options
@serving_options
def run(
    names: tuple[str, ...],
    model: str | None,
    database: str | None,
    engine: EngineOptions,
    **others: Any,
) -> None:
    """Run bots that fetch their messages, until Ctrl-C. Their settings are in [bots.NAME] of the TOML file.

    A bot that its platform calls (a webhook) needs the HTTP server: `chatgpt2 serve --bot NAME`.
    """
    path, latest = chosen_model(model)
    click.echo(f"Loading {path}{' (the latest model)' if latest else ''} …", err=True)
    asyncio.run(_run(names, path, database or default_database_url(), engine, **others))


async def _run(
    names: Sequence[str],
    path: str,
    database: str,
    engine: EngineOptions,
    *,
    grace: int,
    timeout: int,
    blocked_words: Path | None,
    keep_days: int | None,
) -> None:
    from chatgpt2.chat import BlockedWords, ChatService
    from chatgpt2.cli.service import forgetting, notify
    from chatgpt2.gateway import Gateway
    from chatgpt2.loading import open_model
    from chatgpt2.store import SessionStore

    blocked = BlockedWords.read(blocked_words) if blocked_words else None
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    loop = asyncio.get_running_loop()
    async with await SessionStore.open(database) as store, AsyncExitStack() as stack:
        bots = await open_bots(names, store, stack)
        serving = await asyncio.to_thread(open_model, path, engine, data_folder() / "openvino", notify)
        service = ChatService(serving, store, blocked=blocked, timeout=timeout)
        stack.push_async_callback(service.close)
        async with forgetting(store, keep_days), Gateway(service, store, bots).running(grace):
            click.echo(f"Running {', '.join(names)}", err=True)
            tasks = {asyncio.create_task(ended.wait()), asyncio.create_task(_refuse_webhooks(bots))}
            done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
            for task in done:
                task.result()


async def _refuse_webhooks(bots: Sequence[Bot]) -> bool:
    """Without a server a webhook would wait for ever."""
    for each in bots:
        await each.ready.wait()
        if each.adapter.routes():
            raise AdapterError(
                f"{each.name} is called by its platform: use `chatgpt2 serve --bot {each.name}`"
            )
    return await asyncio.Event().wait()


@bot.command("login")
@click.argument("name")
@click.option("--database", metavar="URL", envvar="CHATGPT2_DATABASE", help="Where sessions are kept.")
def login(name: str, database: str | None) -> None:
    """Log a bot in to its platform, where that takes a person; what it needs is kept in the database."""
    asyncio.run(_login(name, database or default_database_url()))


async def _login(name: str, database: str) -> None:
    from chatgpt2.store import SessionStore

    async with await SessionStore.open(database) as store, AsyncExitStack() as stack:
        [made] = await open_bots([name], store, stack)
        await made.adapter.login(Person())


class Person:
    """The person at the terminal."""

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(text)

    def show_qr(self, content: str) -> None:
        """Draw a QR code."""
        import segno

        segno.make(content).terminal(compact=True)
        click.echo(content)

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """Ask, beside the event loop."""
        answer: str = await asyncio.to_thread(click.prompt, question, hide_input=secret)
        return answer
