"""Readers of tables: a question and its answer in two columns of CSV or TSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from chatgpt2.corpus.names import context_of, pair_of
from chatgpt2.corpus.normalise import clean
from chatgpt2.corpus.record import Problem, Record

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ .-]{0,30}")
_FIELD_LIMIT = 1 << 20

Row = tuple[int, list[str]]  # line, cells


def read_csv(lines: Iterable[str]) -> Iterator[Record | Problem]:
    """Pairs separated by commas, quoted as spreadsheets do."""
    return _read(csv_rows(lines))


def read_tsv(lines: Iterable[str]) -> Iterator[Record | Problem]:
    """Pairs separated by tabs, one per line."""
    return _read((number, tsv_cells(line)) for number, line in enumerate(lines, 1))


def header_cells(row: list[str]) -> list[str]:
    """The cells as names of columns."""
    return [clean(cell).lower() for cell in row]


def is_header(row: list[str], following: list[list[str]]) -> bool:
    """Whether the row names columns: known names, or identifiers above rows that are none."""
    cells = header_cells(row)
    if pair_of(cells) is not None:
        return True
    names = len(cells) > 1 and len(set(cells)) == len(cells) and all(map(_NAME.fullmatch, cells))
    # Fewer rows may as well be Chinese ones after an English one.
    return names and len(following) > 2 and all(not "".join(other).isascii() for other in following)


def _read(rows: Iterator[Row | Problem]) -> Iterator[Record | Problem]:
    head = list(islice(rows, 20))
    plain = [row for row in head if not isinstance(row, Problem) and any(map(clean, row[1]))]
    if not plain:
        yield from (row for row in chain(head, rows) if isinstance(row, Problem))
        return
    line, first = plain[0]
    pair = pair_of(header_cells(first))
    if pair is None and (len(first) != 2 or is_header(first, [cells for _, cells in plain[1:]])):
        shown = ", ".join(clean(cell)[:20] for cell in first[:6])
        yield Problem(line, f"expected two columns or a header with question and answer, found {shown}")
        return
    columns = _columns(header_cells(first), pair) if pair else [[0], [1]]
    for row in chain(head, rows):
        if isinstance(row, Problem):
            yield row
        elif pair is None or row[0] != line:
            yield from _pair(row, columns, exact=pair is None)


def _columns(names: list[str], pair: tuple[str, str]) -> list[list[int]]:
    """The columns of the question (alpaca's input after the instruction) and of the answer."""
    question, answer = (names.index(name) for name in pair)
    context = context_of(names, pair[0])
    return [[question] if context is None else [question, names.index(context)], [answer]]


def _pair(row: Row, columns: list[list[int]], exact: bool) -> Iterator[Record | Problem]:
    line, cells = row
    texts = [clean(cell) for cell in cells]
    if not any(texts):
        return
    if len(cells) <= max(max(side) for side in columns) or (exact and len(cells) != 2):
        yield Problem(line, f"expected a question and its answer, found {len(cells)} column(s)")
        return
    yield Record(line, ["\n".join(filter(None, (texts[i] for i in side))) for side in columns])


def csv_rows(lines: Iterable[str]) -> Iterator[Row | Problem]:
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(line.rstrip("\r\n").replace("\r", " ") + "\n" for line in lines)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Problem(line, f"is not CSV ({error}); check the quotes")


def tsv_cells(line: str) -> list[str]:
    return [_unquoted(cell) for cell in line.strip("\r\n").split("\t")]


def _unquoted(cell: str) -> str:
    """A cell without the quotes that spreadsheets put around a text with quotes inside."""
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell
