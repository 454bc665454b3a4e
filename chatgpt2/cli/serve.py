"""`chatgpt2 serve`: the model as a service."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import click

from chatgpt2.cli.bot_settings import open_bots
from chatgpt2.cli.home import data_folder, default_database_url
from chatgpt2.cli.options import chosen_model, serving_options
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import ConfigError

_CONVERTING = "Preparing the model for this machine, once, for about ten seconds …"


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free one."
)
@click.option(
    "--open-to-everyone",
    is_flag=True,
    help="Ask nobody for a key, also with a --host that others than this machine can reach: they may all use the "
    "model, and read and delete every conversation on the page.",
)
@click.option("--ask-for-keys", is_flag=True, help="Also on this machine: see `chatgpt2 keys`.")
@click.option(
    "--grace",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Seconds that running replies have at the end.",
)
@click.option(
    "--bot",
    "bots",
    metavar="NAME",
    multiple=True,
    help="Run this bot too; its settings are in [bots.NAME] of the TOML file. May be given several times.",
)
@serving_options
def serve(
    host: str,
    port: int,
    open_to_everyone: bool,
    ask_for_keys: bool,
    grace: int,
    bots: tuple[str, ...],
    model: str | None,
    database: str | None,
    engine: EngineOptions,
) -> None:
    """Serve a trained model over HTTP, to clients of the OpenAI API.

    The page is at http://HOST:PORT, the base URL for clients http://HOST:PORT/v1. Who comes from another machine
    needs a key (`chatgpt2 keys create LABEL`). Ctrl-C lets running replies end.
    """
    local = _is_local(host)
    if ask_for_keys and open_to_everyone:
        raise ConfigError("--ask-for-keys and --open-to-everyone exclude each other")
    asking = ask_for_keys or not (local or open_to_everyone)
    from chatgpt2.server.app import LOOPBACK
    from chatgpt2.server.running import listen

    path, latest = chosen_model(model)
    names = (*LOOPBACK, f"[{host}]" if ":" in host else host) if local else ("*",)
    with listen(host, port) as bound:
        click.echo(f"Loading {path}{' (the latest model)' if latest else ''} …", err=True)
        asyncio.run(
            _serve(path, database or default_database_url(), engine, (bound, names, grace), asking, bots)
        )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _serve(
    path: str,
    database: str,
    engine: EngineOptions,
    where: tuple[socket.socket, Sequence[str], int],
    asking: bool,
    bots: Sequence[str],
) -> None:
    from chatgpt2.chat import ChatService
    from chatgpt2.gateway import Gateway
    from chatgpt2.loading import open_model
    from chatgpt2.server.app import create_app
    from chatgpt2.server.running import address, running
    from chatgpt2.store import ApiKeys, SessionStore

    bound, names, grace = where
    async with await SessionStore.open(database) as store, AsyncExitStack() as stack:
        made = await open_bots(bots, store, stack)
        keys = ApiKeys(store) if asking else None
        if keys and not any(key.good(datetime.now(UTC)) for key in await keys.all()):
            click.echo("Nobody has a key yet: `chatgpt2 keys create LABEL` makes one.", err=True)
        serving = await asyncio.to_thread(open_model, path, engine, data_folder() / "openvino", notify)
        service = ChatService(serving, store)
        try:
            gateway = Gateway(service, store, made)
            app = create_app(service, store, names, keys, gateway if made else None)
            async with gateway.running(grace), running(app, bound, grace) as ended:
                click.echo(f"Serving {path} on {address(bound)}", err=True)
                await ended
        finally:
            await service.close()


def notify(notice: str, why: str) -> None:
    """Say what loading a model has to say."""
    click.echo(_CONVERTING if notice == "converting" else f"OpenVINO fails, PyTorch serves: {why}", err=True)
