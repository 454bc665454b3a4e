"""Letters into the inbox, inside a transaction that somebody else holds: many at a time cost little more than one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from chatgpt2.store.letters import OPINION, Arrival, Letter, Receipt
from chatgpt2.store.mail_rows import moment
from chatgpt2.store.mail_tables import inbox, queues

_Key = tuple[str, str, str, str]  # a conversation
_Name = tuple[str, str, str]  # a message

_CONVERSATION = (queues.c.platform, queues.c.account, queues.c.chat, queues.c.thread)
_NAME = (inbox.c.platform, inbox.c.account, inbox.c.message_id)
_USER = (inbox.c.platform, inbox.c.account, inbox.c.user_id)
_COUNTS = inbox.c.event["kind"].as_string().is_distinct_from(OPINION)
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


def keep(db: Connection, arrivals: Sequence[Arrival], now: datetime) -> list[Receipt]:
    """Keep letters, in order; what became of each."""
    rows = _queues(db, [_key(each.letter) for each in arrivals])
    known = _known(db, [_name(each.letter) for each in arrivals])
    counts = _Counts(db, now)
    counts.waiting(set(rows.values()))
    receipts: list[Receipt] = []
    for arrival in arrivals:
        if _name(arrival.letter) in known:
            receipts.append("seen")
            continue
        known.add(_name(arrival.letter))
        receipts.append(counts.receipt(arrival, rows[_key(arrival.letter)]))
    fresh = [
        _row(each, rows[_key(each.letter)], receipt, now)
        for each, receipt in zip(arrivals, receipts, strict=True)
        if receipt != "seen"
    ]
    made = _insert(db, fresh)
    for place, each in enumerate(arrivals):
        if receipts[place] != "seen" and _name(each.letter) not in made:
            receipts[place] = "seen"  # kept by another process at the same time, of another chat
    _tell(db, arrivals, receipts, rows, made)
    return receipts


def _insert_new(db: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Leaves out what another process has inserted meanwhile."""
    if db.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def _key(letter: Letter) -> _Key:
    return letter.platform, letter.account, letter.chat, letter.thread


def _name(letter: Letter) -> _Name:
    return letter.platform, letter.account, letter.message_id


def _keeps(arrival: Arrival, receipt: Receipt) -> bool:
    """Whether it is to be answered."""
    return arrival.answer and receipt == "new"


def _row(arrival: Arrival, queue: int, receipt: Receipt, now: datetime) -> dict[str, Any]:
    letter = arrival.letter
    return {
        **{"queue_id": queue, "platform": letter.platform, "account": letter.account},
        **{"message_id": letter.message_id, "user_id": letter.user_id, "event": dict(letter.event)},
        **{"state": "new" if _keeps(arrival, receipt) else "done", "attempts": 0},
        **{"sent": letter.sent, "received": now},
    }


def _queues(db: Connection, keys: Sequence[_Key]) -> dict[_Key, int]:
    """The rows of these conversations, locked: their letters are numbered as they are kept."""
    wanted = tuple_(*_CONVERSATION).in_(sorted(set(keys)))
    chosen = select(queues.c.id, *_CONVERSATION).where(wanted).order_by(queues.c.id).with_for_update()
    found = {(row[1], row[2], row[3], row[4]): row[0] for row in db.execute(chosen)}
    if missing := set(keys) - found.keys():
        new = _insert_new(db, queues)
        names = [column.name for column in _CONVERSATION]
        db.execute(new, [dict(zip(names, key, strict=True)) for key in sorted(missing)])
        found = {(row[1], row[2], row[3], row[4]): row[0] for row in db.execute(chosen)}
    return found


def _known(db: Connection, names: Sequence[_Name]) -> set[_Name]:
    chosen = select(*_NAME).where(tuple_(*_NAME).in_(names))
    return {(row[0], row[1], row[2]) for row in db.execute(chosen)}


def _insert(db: Connection, rows: list[dict[str, Any]]) -> dict[_Name, int]:
    """The new rows by name."""
    if not rows:
        return {}
    new = _insert_new(db, inbox).returning(inbox.c.id, *_NAME)
    return {(row[1], row[2], row[3]): row[0] for row in db.execute(new, rows)}


def _tell(
    db: Connection,
    arrivals: Sequence[Arrival],
    receipts: Sequence[Receipt],
    rows: dict[_Key, int],
    made: dict[_Name, int],
) -> None:
    """There is work in these conversations; here and there it ends."""
    due: set[int] = set()
    for arrival, receipt in zip(arrivals, receipts, strict=True):
        queue = rows[_key(arrival.letter)]
        if receipt != "seen" and arrival.stop:
            stop = made[_name(arrival.letter)]
            db.execute(update(queues).where(queues.c.id == queue).values(stop=stop))
        due |= {queue} if _keeps(arrival, receipt) else set()
    if due:
        since = func.coalesce(queues.c.due, moment(db))
        db.execute(update(queues).where(queues.c.id.in_(sorted(due))).values(due=since))


class _Counts:
    """How many letters there are, against what the gates let in; those that are about to be kept included."""

    def __init__(self, db: Connection, now: datetime) -> None:
        self._db, self._now = db, now
        self._waiting: Counter[int] = Counter()
        self._said: dict[tuple[object, ...], int] = {}

    def waiting(self, rows: set[int]) -> None:
        """Look at these conversations."""
        undone = select(inbox.c.queue_id, func.count()).group_by(inbox.c.queue_id)
        undone = undone.where(inbox.c.queue_id.in_(sorted(rows)), inbox.c.state != "done", _COUNTS)
        self._waiting.update({row[0]: row[1] for row in self._db.execute(undone)})

    def receipt(self, arrival: Arrival, queue: int) -> Receipt:
        """What becomes of the letter; it counts from now on."""
        gate, letter = arrival.gate, arrival.letter
        if letter.opinion:
            return "new"
        free = not arrival.answer or arrival.stop
        rates: tuple[tuple[Receipt, int | None, datetime], ...] = (
            ("slow", gate.per_minute, self._now - _MINUTE),
            ("spent", gate.per_day, gate.midnight or self._now - _DAY),
        )
        found: Receipt = "new"
        for name, most, since in rates:
            if most is not None:
                count = self._spoken(letter, name, since)
                if count >= most and found == "new" and not free:
                    found = name if count == most else "dropped"
        if found == "new" and not free and self._waiting[queue] >= gate.waiting:
            found = "busy" if self._waiting[queue] == gate.waiting else "dropped"
        self._waiting[queue] += _keeps(arrival, found)
        return found

    def _spoken(self, letter: Letter, what: str, since: datetime) -> int:
        """Letters of this user before this one, which counts for the next."""
        user = (letter.platform, letter.account, letter.user_id)
        if (what, *user) not in self._said:
            whose: list[ColumnElement[bool]] = [
                column == value for column, value in zip(_USER, user, strict=True)
            ]
            chosen = select(func.count()).select_from(inbox).where(*whose, inbox.c.received >= since, _COUNTS)
            self._said[(what, *user)] = (self._db.execute(chosen)).scalar_one()
        self._said[(what, *user)] += 1
        return self._said[(what, *user)] - 1
