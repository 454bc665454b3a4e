"""Records with named fields: rows of tables, JSON objects, parquet and arrow. One field of each is a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from chatgpt2.corpus.jsonstream import JsonFault, JsonText
from chatgpt2.corpus.record import Problem
from chatgpt2.corpus.source import Source
from chatgpt2.corpus.table import csv_rows, is_header, tsv_cells
from chatgpt2.errors import ConfigError, CorpusError

Row = tuple[int, Mapping[str, Any]]
"""Where a record begins (a line; its number in parquet and arrow), and its fields."""

USUAL = ("text", "content", "sentence", "text_a", "review", "body", "summary", "文本", "内容")
"""Fields that are taken when none is named, the first of them that is there."""
LABELS = (
    "label",
    "labels",
    "class",
    "category",
    "sentiment",
    "score",
    "rating",
    "stars",
    "y",
    "标签",
    "类别",
    "评分",
)
"""The same for what is said of a text."""


def column_of(rows: Iterable[Row], file: Path, field: str | None) -> Iterator[str]:
    """The texts in `field` (a name, or a number from 1 on) of the rows; null is passed over.

    Raises CorpusError at a record that has no such field, or holds no text there.
    """
    for line, row in rows:
        name = next(iter(row)) if field is None and len(row) == 1 else named(row, field, USUAL)
        if name is None:
            there = ", ".join(list(row)[:12]) or "none"
            wanted = "which field is the text?" if field is None else f"has no field {field}."
            raise CorpusError(file, line, f"{wanted} There are: {there}; name one with --field")
        value = row[name]
        if value is None:
            continue
        if not isinstance(value, str):
            raise CorpusError(
                file, line, f"field {name} holds {type(value).__name__}, not text: --field names it"
            )
        yield value.replace("\r\n", "\n")


def named(row: Mapping[str, Any], field: str | None, usual: Iterable[str]) -> str | None:
    """The name of the wanted field, or of the first usual one; None where it is not there."""
    if field is None:
        return next((name for name in usual if name in row), None)
    if field in row:
        return field
    names = list(row)
    number = int(field) if field.isdecimal() else 0
    return names[number - 1] if 1 <= number <= len(names) else None


def table_rows(source: Source, delimiter: str, *wanted: str | None) -> Iterator[Row]:
    """The rows below the line of names, by those names; without such a line by the numbers 1, 2, …

    The first line holds names if one is `wanted`, if it has a usual one, or if it looks like that.
    """
    cells = _cells(source, delimiter)
    head = list(islice(cells, 20))
    if not head:
        return
    first = head[0][1]
    asked = any(name is not None and not name.isdecimal() for name in wanted)
    usual = any(name in first for name in (*USUAL, *LABELS))
    header = asked or usual or is_header(first, [row for _, row in head[1:]])
    names = [name.strip() for name in first] if header else [str(n + 1) for n in range(len(first))]
    for line, row in chain(head[1:] if header else head, cells):
        if len(row) < len(names) and not any(map(str.strip, row)):
            continue  # a blank line
        yield line, dict(zip(names, row, strict=False))


def _cells(source: Source, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    lines = source.lines()
    rows = csv_rows(lines) if delimiter == "," else ((n, tsv_cells(line)) for n, line in enumerate(lines, 1))
    for row in rows:
        if isinstance(row, Problem):
            raise CorpusError(source.path, row.line, row.message)
        yield row


def json_rows(source: Source) -> Iterator[Row]:
    """The objects of an array, or one after another; a bare text is a record with one field, `text`."""
    stream = JsonText(source.chunks())
    try:
        array = stream.peek() == "["
        if array:
            stream.take("[")
        while stream.peek() not in ("]", ""):
            line, value = stream.line, stream.value()
            if not isinstance(value, str | dict):
                raise CorpusError(source.path, line, "expected an object with fields, or a text")
            yield line, {"text": value} if isinstance(value, str) else value
            if array:
                stream.comma("]")
    except JsonFault as fault:
        raise CorpusError(source.path, fault.line, str(fault)) from fault


def columnar_rows(file: Path) -> Iterator[Row]:
    """The rows of a parquet or an arrow file, read by `datasets`."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ConfigError(
            f"{file}: parquet and arrow need a package: `pip install chatgpt2[datasets]`"
        ) from error
    kind = file.suffix.lower().removeprefix(".")
    try:
        rows = load_dataset(kind, data_files=str(file), split="train", streaming=True)
        yield from enumerate(rows, 1)
    except Exception as error:  # pyarrow and datasets raise classes of their own at a damaged file
        reason = next(iter(str(error.__cause__ or error).strip().splitlines()), type(error).__name__)
        raise CorpusError(file, None, f"cannot be read as {kind} ({reason})") from error
