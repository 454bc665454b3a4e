"""Statements of every turn: SQLAlchemy writes them once, and SQLite's own driver is given the text.

Executing a small statement by SQLAlchemy takes several times as long as having it done by SQLite. Where the driver is
another (PostgreSQL's, or one that awaits) the statement is executed as usual.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import Connection, Dialect, Insert, Select, Update
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from chatgpt2.store.tables import UtcDateTime

Db = Connection | sqlite3.Connection
_Change = Callable[[Any], Any] | None  # of a value on its way to the driver, or back


class Prepared:
    """A statement that is executed often, with other values for its parameters each time.

    columns  that are given for each row, where it is an insert
    """

    def __init__(
        self, statement: Select[Any] | Update | Insert, columns: Sequence[str] | None = None
    ) -> None:
        self._statement, self._columns = statement, columns

    def all(self, db: Db, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows. Raises DBAPIError."""
        driver = _sqlite3(db)
        if driver is None:
            return cast("Connection", db).execute(self._statement, values).all()
        return self._sqlite.all(driver, values)

    def one(self, db: Db, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """The only row, if there is one. Raises DBAPIError."""
        rows = self.all(db, values)
        return rows[0] if rows else None

    def many(self, db: Db, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for each of these. Raises DBAPIError."""
        driver = _sqlite3(db)
        if driver is None:
            cast("Connection", db).execute(self._statement, list(rows))
        else:
            self._sqlite.many(driver, rows)

    @cached_property
    def _sqlite(self) -> _Text:
        return _Text(self._statement, self._columns)


def _sqlite3(db: Db) -> sqlite3.Connection | None:
    """The driver's connection, if it is this one."""
    if isinstance(db, sqlite3.Connection):
        return db
    if db.dialect.driver != "pysqlite":
        return None
    return cast("sqlite3.Connection", db.connection.driver_connection)


class _Text:
    """A statement as the driver takes it: marks for its parameters, in their order."""

    def __init__(self, statement: Select[Any] | Update | Insert, columns: Sequence[str] | None) -> None:
        dialect = SQLiteDialect_pysqlite()
        named = None if columns is None else list(columns)
        compiled = statement.compile(dialect=dialect, column_keys=named)
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        self._text = str(compiled)
        self._fixed = {name: bind.value for name, bind in binds.items() if not bind.required}
        names = list(compiled.positiontup or ())
        self._names = itemgetter(*names) if len(names) > 1 else lambda values: (values[names[0]],)
        changes = [(place, _bind(binds[name].type, dialect)) for place, name in enumerate(names)]
        self._changes = [(place, change) for place, change in changes if change is not None]
        self._results = [_result(column.type, dialect) for column in statement.exported_columns]
        self._plain = not any(self._results)

    def all(self, driver: sqlite3.Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            rows = driver.execute(self._text, self._row(values)).fetchall()
        except sqlite3.Error as error:
            raise DBAPIError(self._text, None, error) from error
        return rows if self._plain else [self._read(row) for row in rows]

    def many(self, driver: sqlite3.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        try:
            driver.executemany(self._text, [self._row(values) for values in rows])
        except sqlite3.Error as error:
            raise DBAPIError(self._text, None, error) from error

    def _row(self, values: Mapping[str, Any]) -> Sequence[Any]:
        row: tuple[Any, ...] = self._names({**self._fixed, **values} if self._fixed else values)
        if not self._changes:
            return row
        changed = list(row)
        for place, change in self._changes:
            changed[place] = change(changed[place])
        return changed

    def _read(self, row: Sequence[Any]) -> list[Any]:
        return [
            value if change is None else change(value)
            for value, change in zip(row, self._results, strict=True)
        ]


def _bind(kind: TypeEngine[Any], dialect: Dialect) -> _Change:
    """How the driver is given a value."""
    change = kind.dialect_impl(dialect).bind_processor(dialect)
    return _written if isinstance(kind, UtcDateTime) else change


@cache
def _moment() -> Callable[[Any], Any]:
    dialect = SQLiteDialect_pysqlite()
    change = UtcDateTime().dialect_impl(dialect).bind_processor(dialect)
    assert change is not None
    return change


_last: tuple[Any, Any] = (None, None)


def _written(value: Any) -> Any:
    """A moment as SQLite has it. The same one stands in several places of a turn, and is written down once."""
    global _last
    if value is None:
        return None
    known = _last  # other stores have threads of their own
    if value is not known[0]:
        _last = known = value, _moment()(value)
    return known[1]


def _result(kind: TypeEngine[Any], dialect: Dialect) -> _Change:
    return kind.dialect_impl(dialect).result_processor(dialect, None)
