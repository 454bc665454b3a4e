"""Files → texts with labels: two columns of a table, or two fields of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatgpt2.corpus.rows import LABELS, USUAL, named
from chatgpt2.corpus.texts import records_of, tidy
from chatgpt2.errors import CorpusError


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and what is to be said of it; `line` is where it stands in `file`."""

    text: str
    label: str
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """Which labelled texts to read from which files, and how.

    field, label  which columns or fields they are: names, or numbers from 1 on; None: one with a usual name, or the
                  other one of two
    """

    files: tuple[Path, ...]
    field: str | None = None
    label: str | None = None
    clean: bool = False
    skip_bad: bool = False

    def __iter__(self) -> Iterator[Labelled]:
        return self.read()

    def read(self, on_bad: Callable[[CorpusError], None] | None = None) -> Iterator[Labelled]:
        """The texts in order. Raises CorpusError at a record without text or label, unless such are to be skipped:
        then `on_bad` hears of them. Raises it where a field is not there in any case."""
        for file in self.files:
            found = False
            for line, row in records_of(file, self.field, self.label):
                if not found:
                    self._columns(file, line, row)  # what is not there at all cannot be skipped
                found = True
                try:
                    yield self._labelled(file, line, row, *self._columns(file, line, row))
                except CorpusError as error:
                    if not self.skip_bad:
                        raise
                    if on_bad:
                        on_bad(error)
            if not found:
                raise CorpusError(file, None, "is empty: there is nothing in it to learn from")

    def _columns(self, file: Path, line: int, row: Mapping[str, Any]) -> tuple[str, str]:
        text, label = named(row, self.field, USUAL), named(row, self.label, LABELS)
        if len(row) == 2:  # one of them tells the other
            first, second = row
            other = {first: second, second: first}
            text = text or (other[label] if label and self.field is None else None)
            label = label or (other[text] if text and self.label is None else None)
        for found, wanted, option, what in (
            (text, self.field, "field", "text"),
            (label, self.label, "label", "label"),
        ):
            if found is None:
                there = ", ".join(list(row)[:12]) or "none"
                problem = f"which field is the {what}?" if wanted is None else f"has no field {wanted}."
                raise CorpusError(file, line, f"{problem} There are: {there}; name one with --{option}")
        assert text is not None and label is not None
        if text == label:
            raise CorpusError(
                file, line, f"field {text} cannot be text and label both: name --field and --label"
            )
        return text, label

    def _labelled(self, file: Path, line: int, row: Mapping[str, Any], field: str, label: str) -> Labelled:
        text, mark = row[field], row[label]
        if not isinstance(text, str | None):
            raise CorpusError(
                file, line, f"field {field} holds {type(text).__name__}, not text: --field names it"
            )
        if not isinstance(mark, str | int | float | None):
            raise CorpusError(file, line, f"label {label} holds {type(mark).__name__}, not one label")
        text = tidy(text or "", keep_lines=False) if self.clean else (text or "").replace("\r\n", "\n")
        mark = "" if mark is None else str(mark).strip()
        if not text.strip() or not mark:
            what = "label" if text.strip() else "text"
            raise CorpusError(
                file, line, f"has no {what}: give it one, or leave such records out with --skip-bad"
            )
        return Labelled(text, mark, file, line)
