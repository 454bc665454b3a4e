"""`chatgpt2 keys`: who may use a service that others can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import click

from chatgpt2.cli.home import default_database_url
from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from chatgpt2.store import ApiKey, ApiKeys

Result = TypeVar("Result")

_LONGEST_LABEL = 100
_database = click.option(
    "--database",
    metavar="URL",
    envvar="CHATGPT2_DATABASE",
    help="That of the service. [default: in the data folder]",
)


@click.group("keys")
def keys() -> None:
    """Make, list or revoke the API keys of `chatgpt2 serve`."""


@keys.command("create")
@click.argument("label")
@click.option(
    "--days", type=click.IntRange(1, 36_500), help="How long it is good. [default: until it is revoked]"
)
@click.option(
    "--per-minute", type=click.IntRange(min=1), help="How many requests it allows. [default: any number]"
)
@_database
def create(label: str, days: int | None, per_minute: int | None, database: str | None) -> None:
    """Make a key, called LABEL, and print it. Only its hash is kept, so it cannot be shown again."""
    if not 0 < len(label.strip()) <= _LONGEST_LABEL or not label.isprintable():
        raise ConfigError(f"{label!r} cannot be a key's label: it needs 1 to {_LONGEST_LABEL} characters")
    click.echo(_with_keys(database, lambda all_: all_.create(label.strip(), days, per_minute)))


@keys.command("list")
@_database
def list_keys(database: str | None) -> None:
    """List the keys by their labels."""
    found = _with_keys(database, lambda all_: all_.all())
    for key in found:
        click.echo(f"{key.created.astimezone():%Y-%m-%d}  {key.label}  ({_state(key)})")
    if not found:
        click.echo("There are no keys yet: `chatgpt2 keys create LABEL` makes one.", err=True)


def _state(key: ApiKey) -> str:
    limit = f", {key.per_minute} a minute" if key.per_minute else ""
    if key.revoked:
        return f"revoked {key.revoked.astimezone():%Y-%m-%d}"
    if key.expires is None:
        return f"good{limit}"
    ended = key.expires <= datetime.now(UTC)
    return f"{'expired' if ended else 'good until'} {key.expires.astimezone():%Y-%m-%d}{limit}"


@keys.command("revoke")
@click.argument("label")
@_database
def revoke(label: str, database: str | None) -> None:
    """Let the key LABEL open nothing any more, from the next request on."""
    if not _with_keys(database, lambda all_: all_.revoke(label)):
        raise ConfigError(f"there is no good key {label!r}: `chatgpt2 keys list` shows them")


def _with_keys(database: str | None, act: Callable[[ApiKeys], Awaitable[Result]]) -> Result:
    from chatgpt2.store import ApiKeys, SessionStore

    async def run() -> Result:
        async with await SessionStore.open(database or default_database_url()) as store:
            return await act(ApiKeys(store))

    return asyncio.run(run())
