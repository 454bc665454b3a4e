"""What the TOML file and the environment say of a bot."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from chatgpt2.gateway import Bot
    from chatgpt2.store import SessionStore

TABLE = "bots"
_PREFIX = "CHATGPT2_BOT_"
_FILE = "_file"


def bot_settings(name: str) -> dict[str, Any]:
    """The table [bots.NAME]. The environment's CHATGPT2_BOT_NAME_KEY wins; a key that ends in -file names a file that
    holds the value, so that a secret need not be in either."""
    tables = click.get_current_context().find_root().obj or {}
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"[{TABLE}]: {name} must be a table of settings, [{TABLE}.{name}]")
    settings = {key.replace("-", "_"): value for key, value in table.items()}
    prefix = f"{_PREFIX}{name.upper().replace('-', '_')}_"
    given = {key[len(prefix) :].lower(): value for key, value in os.environ.items() if key.startswith(prefix)}
    for key, value in given.items():
        settings.pop(f"{key}{_FILE}", None)
        settings[key] = value
    return {key.removesuffix(_FILE): _read(name, key, settings[key]) for key in settings}


def _read(name: str, key: str, value: Any) -> Any:
    if not key.endswith(_FILE):
        return value
    try:
        return Path(str(value)).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"[{TABLE}.{name}] {key.replace('_', '-')}: {value}: {reason}") from error


async def open_bots(names: Sequence[str], store: SessionStore, stack: AsyncExitStack) -> list[Bot]:
    """The bots with their settings; `stack` closes what they use. Raises ConfigError and AdapterError."""
    from chatgpt2.gateway import make_bot

    bots = []
    for name in names:
        made, client = make_bot(name, bot_settings(name), store)
        await stack.enter_async_context(client)
        bots.append(made)
    return bots
