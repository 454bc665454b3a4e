"""Whose words are whose: opting out of training, and what may be trained on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.store.sessions import SessionStore
from chatgpt2.store.tables import feedback, opt_outs, sessions, turns

_PAGE = 200  # sessions read at a time
_SAID = (turns.c.id, turns.c.role, turns.c.text, turns.c.user_id, turns.c.removed, turns.c.removed_why)
_OUT = (opt_outs.c.platform, opt_outs.c.account, opt_outs.c.user_id)
WHERE = (sessions.c.platform, sessions.c.account, sessions.c.chat)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on a platform. `user` "" is whoever has no user id there: the person at the terminal, or on the
    page; None: everybody there. `account` None: on any account of the platform."""

    platform: str
    user: str | None = ""
    account: str | None = None

    def __str__(self) -> str:
        return ":".join(part for part in (self.platform, self.account, self.user) if part)


class People:
    """Every method raises StoreError when the database fails."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def opt_out(self, platform: str, account: str, user: str = "") -> None:
        """Keep the user's words out of every export from now on."""
        row = {"platform": platform, "account": account, "user_id": user}
        async with self._store.writing() as db:
            await db.execute(delete(opt_outs).filter_by(**row))
            await db.execute(insert(opt_outs).values(**row, created=datetime.now(UTC)))

    async def opt_in(self, platform: str, account: str, user: str = "") -> None:
        """Take an opt-out back."""
        row = {"platform": platform, "account": account, "user_id": user}
        async with self._store.writing() as db:
            await db.execute(delete(opt_outs).filter_by(**row))

    async def opted_out(self, platform: str, account: str, user: str = "") -> bool:
        """Whether the user's words are to be kept out."""
        row = {"platform": platform, "account": account, "user_id": user}
        async with self._store.reading() as db:
            return await db.scalar(select(opt_outs.c.id).filter_by(**row)) is not None

    async def dialogues(
        self, person: Person | None = None, *, without_disliked: bool = False
    ) -> AsyncIterator[Dialogue]:
        """What was said, by one person or by everybody who has not opted out, and the replies to it.

        Where somebody else spoke, something was taken back or the conversation began anew, a new dialogue begins:
        no reply stands behind words that it did not answer.
        """
        async with self._store.reading() as db:
            out = {tuple(row) for row in await db.execute(select(*_OUT))}
            async for session in sessions_of(db, person):

                def goes(user: str, where: Any = session) -> bool:
                    theirs = person is None or person.user in (None, user)
                    return theirs and (where.platform, where.account, user) not in out

                said = select(*_SAID).where(turns.c.session_id == session.id).order_by(turns.c.position)
                disliked = await _disliked(db, session.id) if without_disliked else set()
                for dialogue in _split((await db.execute(said)).all(), goes, disliked):
                    yield dialogue


async def sessions_of(db: AsyncConnection, person: Person | None) -> AsyncIterator[Any]:
    """The rows of the sessions on the person's platform and account, the oldest first."""
    after = 0
    while True:
        chosen = select(sessions.c.id, *WHERE).where(sessions.c.id > after)
        if person is not None:
            chosen = chosen.where(is_on(sessions, person))
        page = (await db.execute(chosen.order_by(sessions.c.id).limit(_PAGE))).all()
        for row in page:
            yield row
        if len(page) < _PAGE:
            return
        after = page[-1].id


def is_on(table: Table, person: Person) -> ColumnElement[bool]:
    """The rows of the person's platform and account."""
    on = table.c.platform == person.platform
    return on if person.account is None else and_(on, table.c.account == person.account)


async def _disliked(db: AsyncConnection, session: int) -> set[int]:
    chosen = select(feedback.c.turn_id).join(turns)
    found = await db.scalars(chosen.where(turns.c.session_id == session, feedback.c.verdict == "down"))
    return set(found)


def _split(rows: Iterable[Any], owners: Callable[[str], bool], disliked: set[int]) -> Iterator[Dialogue]:
    """The exchanges that may go out, in runs that nothing interrupts. `owners` says whose may."""
    run: list[Turn] = []
    era: datetime | None = None
    for asked, answers in _exchanges(rows):
        last = answers[-1] if answers else None
        meant = last is not None and not disliked.intersection(answer.id for answer in answers)
        goes = meant and owners(asked.user_id or "")
        if run and (not goes or asked.removed != era):
            yield Dialogue(tuple(run))
            run = []
        if goes and last is not None:
            era = asked.removed
            run += [Turn("user", asked.text), Turn("bot", last.text)]
    if run:
        yield Dialogue(tuple(run))


def _exchanges(rows: Iterable[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """User turns that were meant, with the answers that were, too."""
    asked: Any = None
    answers: list[Any] = []
    for row in filter(_meant, rows):
        if row.role == "bot":
            answers.append(row)
            continue
        if asked is not None:
            yield asked, answers
        asked, answers = row, []
    if asked is not None:
        yield asked, answers


def _meant(row: Any) -> bool:
    """What a reset took out of the conversation was said in earnest; what was undone, retried or blocked was not."""
    return row.removed is None or row.removed_why == "reset"
