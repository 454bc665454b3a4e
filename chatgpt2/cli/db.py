"""`chatgpt2 db`: the session database as a thing to look after."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chatgpt2.cli.database import database_option, with_store
from chatgpt2.cli.home import default_database_url
from chatgpt2.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from chatgpt2.store import Person, SessionStore
    from chatgpt2.store.erasing import Erased

_OUT_OF_REACH = (
    "Out of reach: earlier backups and exports, a PostgreSQL server's write-ahead log (the live one until it is "
    "written over, archived and replicated ones), models trained on these words."
)
_platform = click.option("--platform", metavar="NAME", help="terminal, web, telegram …")
_account = click.option("--account", metavar="NAME", help="One account of the platform. [default: all]")
_user = click.option(
    "--user", metavar="ID", default="", help="The platform's id of the user. [default: who has none]"
)
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("db")
def db() -> None:
    """Look after the session database: upgrade, check, back up, export, erase."""


@db.command("upgrade")
@database_option
def upgrade(database: str | None) -> None:
    """Bring the database's tables up to date; make them when there are none. (Opening it does so, too.)"""
    before, newest = _revision(database)
    with_store(database, lambda store: store.ping())
    what = "it was up to date" if before == newest else f"it was at {before}" if before else "it is new"
    click.echo(f"The database is at revision {newest}: {what}.")


@db.command("current")
@database_option
def current(database: str | None) -> None:
    """Print the revision of the database's tables. Changes nothing."""
    found, newest = _revision(database)
    if found == newest:
        click.echo(f"{found} (the newest)")
    elif found is None:
        click.echo("There are no tables yet: the first conversation, or `chatgpt2 db upgrade`, makes them.")
    else:
        click.echo(f"{found} (the newest is {newest}: `chatgpt2 db upgrade`)")


@db.command("check")
@database_option
def check(database: str | None) -> None:
    """Look for damage, tables that differ from this program's, and half exchanges. Status 1: there is some."""
    from chatgpt2.store import upkeep

    async def look(store: SessionStore) -> tuple[list[str], dict[str, int]]:
        return await upkeep.check(store), await upkeep.counts(store)

    wrong, rows = with_store(database, look)
    for sentence in wrong:
        click.echo(sentence)
    if wrong:
        click.get_current_context().exit(1)
    click.echo(f"The database is sound: {', '.join(f'{count} {table}' for table, count in rows.items())}.")


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE.")
@database_option
def backup(file: Path, force: bool, database: str | None) -> None:
    """Copy the database to FILE, also while it is in use.

    SQLite: FILE is a database, to be given as --database sqlite:///FILE or put in the old one's place. PostgreSQL:
    FILE is what pg_dump writes, for pg_restore.
    """
    from chatgpt2.store import upkeep

    _free(file, force)
    with_store(database, lambda store: upkeep.backup(store, file))
    click.echo(f"Wrote {file} ({file.stat().st_size / 1e6:.1f} MB).")


@db.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_platform
@_account
@click.option("--user", metavar="ID", help="One user of the platform. [default: everybody]")
@click.option("--without-disliked", is_flag=True, help="Leave out exchanges whose reply got a thumb down.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@database_option
def export(
    file: Path,
    platform: str | None,
    account: str | None,
    user: str | None,
    without_disliked: bool,
    force: bool,
    database: str | None,
) -> None:
    """Write conversations to FILE (.jsonl) as a corpus: `chatgpt2 train-dialog FILE` reads it.

    What its owner has opted out (/optout) is left out, and so is what was taken back, answered again or blocked.
    """
    from chatgpt2.store import Audit, Person

    if (account is not None or user is not None) and platform is None:
        raise ConfigError("--account and --user need --platform: the same id means others elsewhere")
    person = None if platform is None else Person(platform, user, account)
    _free(file, force)

    async def write(store: SessionStore) -> tuple[int, int]:
        done = await _write_corpus(store, person, without_disliked, file)
        await Audit(store).note("cli", "export", person=str(person or "everybody"), dialogues=done[0])
        return done

    dialogues, turns = with_store(database, write)
    click.echo(f"Wrote {dialogues} dialogues with {turns} turns to {file}.")


@db.command("erase")
@_platform
@_account
@_user
@_yes
@database_option
def erase(platform: str | None, account: str | None, user: str, yes: bool, database: str | None) -> None:
    """Delete a user for good: what they said, the replies to it, their feedback, opt-outs and empty sessions.

    The rows are overwritten and the files rewritten. Without --user it is those of the platform who have no id: the
    person at the terminal, or on the page.
    """
    from chatgpt2.store import Audit, Person
    from chatgpt2.store.erasing import erase as erase_person
    from chatgpt2.store.erasing import scrub

    if platform is None:
        raise ConfigError("--platform is needed, for instance --platform telegram --user 12345")
    person = Person(platform, user, account)
    if not yes:
        click.confirm(f"Erase everything of {person} for good?", abort=True)

    async def work(store: SessionStore) -> tuple[Erased, bool]:
        gone = await erase_person(store, person)
        await Audit(store).note("cli", "erase", platform=platform, turns=gone.turns)
        return gone, await scrub(store)

    gone, clean = with_store(database, work)
    click.echo(f"Erased {_told(gone)}.")
    if not clean:
        click.echo(
            "Another program was reading: run this again when it is stopped, to clear the log file, too."
        )
    click.echo(_OUT_OF_REACH)


@db.command("prune")
@click.option("--days", type=click.IntRange(1), required=True, help="Delete what is older.")
@_yes
@database_option
def prune(days: int, yes: bool, database: str | None) -> None:
    """Delete conversations that are older than some days. (`serve --keep-days` does it by itself.)"""
    from chatgpt2.store import Audit
    from chatgpt2.store.erasing import prune as prune_all
    from chatgpt2.store.erasing import scrub

    if not yes:
        click.confirm(f"Delete everything said more than {days} days ago?", abort=True)

    async def work(store: SessionStore) -> Erased:
        gone = await prune_all(store, datetime.now(UTC) - timedelta(days=days))
        await Audit(store).note("cli", "prune", days=days, turns=gone.turns)
        await scrub(store)
        return gone

    click.echo(f"Deleted {_told(with_store(database, work))}.")


def _told(gone: Erased) -> str:
    parts = (
        (gone.turns, "turns"),
        (gone.sessions, "sessions"),
        (gone.feedback, "opinions"),
        (gone.others, "others"),
    )
    return ", ".join(f"{count} {what}" for count, what in parts)


def _revision(database: str | None) -> tuple[str | None, str]:
    from chatgpt2.store.opening import HEAD, read_url, revision_of

    return asyncio.run(revision_of(read_url(database or default_database_url()))), HEAD


def _free(file: Path, force: bool) -> None:
    if file.exists() and not force:
        raise ConfigError(f"{file} is there already: choose another name, or give --force")


async def _write_corpus(
    store: SessionStore, person: Person | None, without_disliked: bool, file: Path
) -> tuple[int, int]:
    """The dialogues in OpenAI's messages format, a line each; the file is there when it is whole."""
    from chatgpt2.store import People

    roles = {"user": "user", "bot": "assistant"}
    part, dialogues, turns = file.with_name(f".{file.name}.part"), 0, 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as out:
            async for dialogue in People(store).dialogues(person, without_disliked=without_disliked):
                said = [{"role": roles[turn.role], "content": turn.text} for turn in dialogue.turns]
                out.write(json.dumps({"messages": said}, ensure_ascii=False) + "\n")
                dialogues, turns = dialogues + 1, turns + len(said)
        part.replace(file)
    except OSError as error:
        raise StoreError(f"The export {file} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return dialogues, turns
