"""What a database says when it cannot, in words that a user can act on."""

from __future__ import annotations

from types import TracebackType

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chatgpt2.errors import StoreError

_DISK_FULL = "53100"  # PostgreSQL's SQLSTATE

# What SQLite says → what to tell. First match wins.
_SQLITE = (
    ("file is not a database", "is not a session database; give another with --database"),
    ("malformed", "is damaged; restore a backup or give another with --database"),
    ("database or disk is full", "cannot grow: the disk is full"),
    ("disk i/o error", "cannot be read or written: the disk reports an error (is it full?)"),
    ("locked", "is locked by another program; try again when it is done"),
    ("readonly", "is read-only; check the permissions of the file and its folder"),
    ("read-only", "is read-only; check the permissions of the file and its folder"),
    ("unable to open", "cannot be opened; check that the folder exists and may be written to"),
)


def plain_name(url: URL) -> str:
    """How messages call this database: the path of a file, else the URL without its password."""
    if url.get_backend_name() == "sqlite" and url.database:
        return url.database
    return url.render_as_string(hide_password=True)


def _explain(error: SQLAlchemyError) -> str:
    said = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    for sign, explanation in _SQLITE:
        if sign in said.lower():
            return explanation
    if getattr(getattr(error, "orig", None), "sqlstate", None) == _DISK_FULL:
        return "cannot grow: the disk is full"
    lines = said.strip().splitlines() or [type(error).__name__]
    return f"cannot be used: {lines[0]}"


class plain_faults:
    """A context that turns the database's errors into StoreError. It may be entered any number of times."""

    def __init__(self, url: URL) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SQLAlchemyError):
            raise StoreError(f"The session database {plain_name(self._url)} {_explain(error)}.") from error
        if isinstance(error, OSError):  # a server that is not there, a folder that cannot be made
            reason = error.strerror or str(error)
            what = f"The session database {plain_name(self._url)} cannot be reached: {reason}."
            raise StoreError(what) from error
