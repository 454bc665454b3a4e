"""`chatgpt2 sessions`: the conversations on record."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.cli.database import database_option, with_store
from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from chatgpt2.store import SessionInfo, SessionKey, SessionStore, StoredTurn

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("sessions")
def sessions() -> None:
    """List, show or delete the conversations on record."""


@sessions.command("list")
@database_option
@_as_json
def list_sessions(database: str | None, as_json: bool) -> None:
    """List the sessions, the one last spoken in first."""
    found = with_store(database, lambda store: store.sessions())
    if as_json:
        _print_json([_info_json(info) for info in found])
        return
    for info in found:
        removed = f", {info.removed} removed" if info.removed else ""
        when = info.last_active.astimezone().strftime("%Y-%m-%d %H:%M")
        click.echo(f"{when}  {session_name(info.key)}  ({info.turns} turns{removed})")
    if not found:
        click.echo("There are no sessions yet: `chatgpt2 chat` begins one.", err=True)


@sessions.command("show")
@click.argument("name")
@database_option
@_as_json
def show_session(name: str, database: str | None, as_json: bool) -> None:
    """Print everything said in session NAME, also what a /reset, /undo or /retry took out of it."""

    async def read(store: SessionStore) -> tuple[SessionInfo, list[StoredTurn]]:
        info = await _find(store, name)
        return info, await store.record(info.key)

    info, record = with_store(database, read)
    if as_json:
        _print_json({**_info_json(info), "record": [_plain(asdict(turn)) for turn in record]})
        return
    for turn in record:
        when = turn.created.astimezone().strftime("%Y-%m-%d %H:%M")
        mark = f"  [{turn.removed_why}]" if turn.removed_why else ""
        click.echo(f"{when}  {turn.role:<4}  {_printable(turn.text)}{mark}")


@sessions.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def delete_session(name: str, yes: bool, database: str | None) -> None:
    """Delete session NAME with all that was said in it."""
    info = with_store(database, lambda store: _find(store, name))
    if not yes:
        said = info.turns + info.removed
        click.confirm(f"Delete session {name} with its {said} turns for good?", abort=True)
    with_store(database, lambda store: store.delete(info.key))
    click.echo(f"Deleted session {name}.")


def session_name(key: SessionKey) -> str:
    """What a session is called on the command line: the terminal's by their name alone."""
    return key.chat if key.platform == "terminal" else str(key)


async def _find(store: SessionStore, name: str) -> SessionInfo:
    for info in await store.sessions():
        if session_name(info.key) == name:
            return info
    raise ConfigError(f"There is no session {name!r}: `chatgpt2 sessions list` shows those there are.")


def _info_json(info: SessionInfo) -> dict[str, Any]:
    facts = _plain(asdict(info))
    return {"name": session_name(info.key), **facts.pop("key")._asdict(), **facts}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values with times as text."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
    }


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _printable(text: str) -> str:
    """Text that cannot move the cursor or ring the bell, on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
