"""`chatgpt2 keys`: who may use a service that others can reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from chatgpt2.cli.database import Result, database_option, with_store
from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from chatgpt2.store import ApiKey, ApiKeys, Audit

_LONGEST_LABEL = 100


@click.group("keys")
def keys() -> None:
    """Make, list, renew or revoke the API keys of `chatgpt2 serve`."""


_days = click.option(
    "--days", type=click.IntRange(1, 36_500), help="How long it is good. [default: until it is revoked]"
)


@keys.command("create")
@click.argument("label")
@_days
@click.option(
    "--per-minute",
    type=click.IntRange(min=0),
    help="How many requests it allows; 0: any number. [default: `serve --key-requests-per-minute`]",
)
@database_option
def create(label: str, days: int | None, per_minute: int | None, database: str | None) -> None:
    """Make a key, called LABEL, and print it. Only its hash is kept, so it cannot be shown again.

    Each key has sessions of its own, which no other key opens.
    """
    if not 0 < len(label.strip()) <= _LONGEST_LABEL or not label.isprintable():
        raise ConfigError(f"{label!r} cannot be a key's label: it needs 1 to {_LONGEST_LABEL} characters")

    async def make(all_: ApiKeys, audit: Audit) -> str:
        key = await all_.create(label.strip(), days, per_minute)
        await audit.note("cli", "key.create", label=label.strip(), days=days, per_minute=per_minute)
        return key

    click.echo(_with_keys(database, make))


@keys.command("list")
@database_option
def list_keys(database: str | None) -> None:
    """List the keys by their labels."""
    found = _with_keys(database, lambda all_, _: all_.all())
    for key in found:
        click.echo(f"{key.created.astimezone():%Y-%m-%d}  {key.label}  ({_state(key)})")
    if not found:
        click.echo("There are no keys yet: `chatgpt2 keys create LABEL` makes one.", err=True)


def _state(key: ApiKey) -> str:
    limit = "" if key.per_minute is None else f", {key.per_minute or 'any number'} a minute"
    if key.revoked:
        return f"revoked {key.revoked.astimezone():%Y-%m-%d}"
    if key.expires is None:
        return f"good{limit}"
    ended = key.expires <= datetime.now(UTC)
    return f"{'expired' if ended else 'good until'} {key.expires.astimezone():%Y-%m-%d}{limit}"


@keys.command("renew")
@click.argument("label")
@_days
@database_option
def renew(label: str, days: int | None, database: str | None) -> None:
    """Print another key in the place of LABEL's, which opens nothing any more. The sessions stay LABEL's."""

    async def change(all_: ApiKeys, audit: Audit) -> str:
        key = await all_.renew(label, days)
        await audit.note("cli", "key.renew", label=label, days=days)
        return key

    click.echo(_with_keys(database, change))


@keys.command("revoke")
@click.argument("label")
@database_option
def revoke(label: str, database: str | None) -> None:
    """Let the key LABEL open nothing any more, from the next request on."""

    async def end(all_: ApiKeys, audit: Audit) -> bool:
        if done := await all_.revoke(label):
            await audit.note("cli", "key.revoke", label=label)
        return done

    if not _with_keys(database, end):
        raise ConfigError(f"there is no good key {label!r}: `chatgpt2 keys list` shows them")


def _with_keys(database: str | None, act: Callable[[ApiKeys, Audit], Awaitable[Result]]) -> Result:
    from chatgpt2.store import ApiKeys, Audit

    return with_store(database, lambda store: act(ApiKeys(store), Audit(store)))
