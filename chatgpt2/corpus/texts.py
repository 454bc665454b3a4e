"""Files → texts: plain text, a column of a table, a field of JSON, parquet and arrow.

stream   all of the text, in pieces that follow one another; joined they are the files
lines    a text for each line that is not blank, or for each record
records  a text for each paragraph (blank lines between), or for each record
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from chatgpt2.corpus.files import bare_suffix
from chatgpt2.corpus.normalise import clean
from chatgpt2.corpus.rows import Row, column_of, columnar_rows, json_rows, table_rows
from chatgpt2.corpus.source import Source, open_source
from chatgpt2.errors import CorpusError

Shape = Literal["stream", "lines", "records"]

_TABLES = {".csv": ",", ".tsv": "\t"}
_JSON = {".json", ".jsonl", ".ndjson"}
_COLUMNAR = {".parquet", ".arrow"}
_PLAIN = {".txt", ".text", ".md", ""}
_EMPTY = "is empty: there is no text in it to learn from"
_LONG = 4000  # characters of a piece before it is cut inside a line
# Where any tokenizer ends a token: before white space, after the end of a Chinese sentence.
_CUT = re.compile(r"(?<=\S)(?=[ \t])|(?<=[。！？])(?=\w)")


@dataclass(frozen=True, slots=True)
class TextSource:
    """Which texts to read from which files, and how."""

    files: tuple[Path, ...]
    shape: Shape = "stream"
    field: str | None = None
    clean: bool = False

    def __iter__(self) -> Iterator[str]:
        """The texts in order. Raises CorpusError at what cannot be read, or where there is nothing."""
        texts: Iterator[str] = (
            text for n, file in enumerate(self.files) for text in self._file(file, first=n == 0)
        )
        if self.clean:
            texts = filter(None, (tidy(text, keep_lines=self.shape == "stream") for text in texts))
        return texts

    def _file(self, file: Path, *, first: bool) -> Iterator[str]:
        found = False
        for n, text in enumerate(self._texts(file)):
            found = found or bool(text.strip())
            yield text if n or first or self.shape != "stream" else "\n" + text
        if not found:
            raise CorpusError(file, None, _EMPTY)

    def _texts(self, file: Path) -> Iterator[str]:
        records = self._records(file)
        if records is None:
            return _SHAPES[self.shape](_lines(_readable(file)))
        if self.shape == "stream":
            return _joined(records)
        return filter(str.strip, records)

    def _records(self, file: Path) -> Iterator[str] | None:
        """The chosen field of each record; None for a plain text."""
        plain = bare_suffix(file) not in {*_TABLES, *_JSON, *_COLUMNAR}
        if plain and self.field is None:
            return None
        return column_of(records_of(file, self.field), file, self.field)


def records_of(file: Path, *wanted: str | None) -> Iterator[Row]:
    """The records of a file; one that does not end like any is a table with tabs. `wanted` are fields."""
    suffix = bare_suffix(file)
    if suffix in _COLUMNAR:
        return columnar_rows(file)
    if suffix in _JSON:
        return json_rows(_readable(file))
    return table_rows(_readable(file), _TABLES.get(suffix, "\t"), *wanted)


def text_files(paths: Iterable[Path | str]) -> tuple[Path, ...]:
    """The given files as they are, and under given folders those whose name ends like a text's or a table's."""
    known = {*_TABLES, *_JSON, *_COLUMNAR, *_PLAIN} - {"", ".md"}
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise CorpusError(path, None, "no such file or folder; check the path")
        inside = [path]
        if path.is_dir():
            inside = [
                each
                for each in sorted(path.rglob("*"))
                if _visible(each, path) and bare_suffix(each) in known
            ]
            if not inside:
                raise CorpusError(path, None, f"holds no file that ends in {', '.join(sorted(known))}")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return tuple(found.values())


def encodings(files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Those of the files that are text in another encoding than UTF-8, and in which."""
    for file in files:
        if bare_suffix(file) not in _COLUMNAR and not (found := open_source(file).encoding).startswith(
            "utf-8"
        ):
            yield file, found.upper()


def _visible(file: Path, folder: Path) -> bool:
    names = file.relative_to(folder).parts
    # What save_to_disk of `datasets` writes beside the data.
    beside = file.name in ("state.json", "dataset_info.json", "dataset_dict.json")
    return file.is_file() and not beside and not any(name.startswith((".", "__")) for name in names)


def _readable(file: Path) -> Source:
    if file.stat().st_size == 0:
        raise CorpusError(file, None, _EMPTY)
    source = open_source(file)
    if source.broken is not None:
        problem = (
            f"has a byte that is not {source.encoding}; expected UTF-8, UTF-16 or GB18030 text throughout"
        )
        raise CorpusError(file, source.broken, f"{problem}: convert it first, for example with iconv")
    return source


def _lines(source: Source) -> Iterator[str]:
    """The lines with LF as their end, whatever it was."""
    for line in source.lines():
        yield line[:-2] + "\n" if line.endswith("\r\n") else line


def _stream(lines: Iterable[str]) -> Iterator[str]:
    """Pieces that end before a line end: there every tokenizer ends a token, if no white space precedes."""
    held = ""
    for line in lines:
        content = line.removesuffix("\n")
        held += content
        if content and not content[-1].isspace():
            yield from _cut(held)
            held = ""
        held += line[len(content) :]
    yield from filter(None, [held])


def _cut(text: str) -> Iterator[str]:
    """A text without line ends in pieces of a few thousand characters."""
    start = 0
    while len(text) - start > _LONG:
        found = _CUT.search(text, start + _LONG // 2)
        if found is None:
            break
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def _joined(records: Iterable[str]) -> Iterator[str]:
    """Records as a stream: each begins a line."""
    return _stream(line + "\n" for record in records for line in record.split("\n"))


def _each_line(lines: Iterable[str]) -> Iterator[str]:
    return (line.removesuffix("\n") for line in lines if line.strip())


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    for line in chain(lines, ["\n"]):
        if line.strip():
            held.append(line)
        elif held:
            yield "".join(held).removesuffix("\n")
            held = []


_SHAPES: dict[Shape, Callable[[Iterable[str]], Iterator[str]]] = {
    "stream": _stream,
    "lines": _each_line,
    "records": _paragraphs,
}


def tidy(text: str, *, keep_lines: bool) -> str:
    """`text` in composed form (NFC), without characters that show nothing, with runs of white space made one
    space and blank lines left out. Nothing visible goes: every letter and every mark stays.

    keep_lines  the white space that the text begins with stays one space, or one line end
    """
    body = clean(unicodedata.normalize("NFC", text))
    if not keep_lines or not body:
        return body
    lead = text[: len(text) - len(text.lstrip())]
    return ("\n" if "\n" in lead else " " if lead else "") + body
