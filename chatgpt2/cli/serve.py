"""`chatgpt2 serve`: the model as a service."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

import click

from chatgpt2.cli.home import default_database_url
from chatgpt2.cli.options import service_options, serving_options
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import ConfigError

# What people and their programs do not reach, so that none who comes from elsewhere takes it all from the rest.
_OF_AN_ADDRESS, _OF_A_KEY = 600, 300
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]+)?")


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
@service_options
@click.option(
    "--requests-per-minute",
    type=click.IntRange(0),
    help=f"How often one address may ask; 0: any number. [default: {_OF_AN_ADDRESS}, on this machine only: 0]",
)
@click.option(
    "--key-requests-per-minute",
    type=click.IntRange(0),
    help="How often a key may ask that has no limit of its own; 0: any number. "
    f"[default: {_OF_A_KEY}, on this machine only: 0]",
)
@click.option(
    "--trusted-proxy",
    metavar="ADDRESS",
    multiple=True,
    help="The address or network of a proxy, whose X-Forwarded-For is believed. Several are possible.",
)
@click.option(
    "--allow-origin",
    metavar="URL",
    multiple=True,
    help="Let pages of this site (https://chat.example.com) use the service too. Several are possible.",
)
@click.option(
    "--log-messages",
    is_flag=True,
    help="Write each request to the log, with all that was asked and answered: whoever reads the log reads every "
    "conversation. Keys are never written.",
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
    requests_per_minute: int | None,
    key_requests_per_minute: int | None,
    model: str | None,
    database: str | None,
    engine: EngineOptions,
    **others: Any,
) -> None:
    """Serve a trained model over HTTP, to clients of the OpenAI API.

    The page is at http://HOST:PORT, the base URL for clients http://HOST:PORT/v1. Who comes from another machine
    needs a key (`chatgpt2 keys create LABEL`). Ctrl-C lets running replies end; SIGHUP loads the model again.
    """
    local = _is_local(host)
    if ask_for_keys and open_to_everyone:
        raise ConfigError("--ask-for-keys and --open-to-everyone exclude each other")
    asking = ask_for_keys or not (local or open_to_everyone)
    check_proxies(others["trusted_proxy"])
    check_origins(others["allow_origin"])
    from chatgpt2.cli.service import Terms, run
    from chatgpt2.server.app import LOOPBACK
    from chatgpt2.server.running import listen, run_on_fastest_loop

    names = (*LOOPBACK, f"[{host}]" if ":" in host else host) if local else ("*",)
    rates = rates_of(local, requests_per_minute, key_requests_per_minute)
    terms = Terms(model, database or default_database_url(), engine, names, asking, *rates, **others)
    with listen(host, port) as bound:
        run_on_fastest_loop(run(terms, bound))


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def rates_of(local: bool, address: int | None, key: int | None) -> tuple[int, int]:
    """How often an address and a key may ask in a minute; None is the default, 0 any number."""
    usual = (0, 0) if local else (_OF_AN_ADDRESS, _OF_A_KEY)
    return usual[0] if address is None else address, usual[1] if key is None else key


def check_proxies(proxies: Sequence[str]) -> None:
    """Raise ConfigError for what is neither an address nor a network: it would be trusted in vain."""
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            what = "it must be an address such as 10.0.0.2, or a network such as 10.0.0.0/8"
            raise ConfigError(f"--trusted-proxy {proxy}: {what} ({error})") from error


def check_origins(origins: Sequence[str]) -> None:
    """Raise ConfigError for what no browser calls a site."""
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            what = (
                "it must look like https://chat.example.com, with a port if there is one and nothing after it"
            )
            raise ConfigError(f"--allow-origin {origin}: {what}")
