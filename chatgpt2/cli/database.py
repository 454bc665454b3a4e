"""What every command on the session database shares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from chatgpt2.cli.home import default_database_url

if TYPE_CHECKING:
    from chatgpt2.store import SessionStore

Result = TypeVar("Result")

database_option = click.option(
    "--database",
    metavar="URL",
    envvar="CHATGPT2_DATABASE",
    help="Where sessions are kept. [default: in the data folder]",
)


def with_store(database: str | None, work: Callable[[SessionStore], Awaitable[Result]]) -> Result:
    """Open the database, which brings it up to date, and do `work` on it."""
    from chatgpt2.store import SessionStore

    async def run() -> Result:
        async with await SessionStore.open(database or default_database_url()) as store:
            return await work(store)

    return asyncio.run(run())
