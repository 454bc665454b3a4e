"""Read dialogues from files and folders, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chatgpt2.corpus.detect import FORMATS, detect_format
from chatgpt2.corpus.files import OnSkip, bare_suffix, corpus_files
from chatgpt2.corpus.jsonstream import read_json, read_jsonl
from chatgpt2.corpus.normalise import assemble, rejoin
from chatgpt2.corpus.record import Problem, Record, Tally
from chatgpt2.corpus.source import Source, open_source, take_sample
from chatgpt2.corpus.table import read_csv, read_tsv
from chatgpt2.corpus.text import read_blocks, read_conv, read_tabs
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import ConfigError, CorpusError

OnBad = Callable[[CorpusError], None]

_LINE_READERS = {
    "text": read_blocks,
    "tabs": read_tabs,
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
    "conv": read_conv,
}


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file whose encoding and format are known."""

    source: Source
    format: str

    def records(self) -> Iterator[Record | Problem]:
        """The file's records as they stand, with split characters joined."""
        if self.format == "json":
            return rejoin(read_json(self.source.chunks()))
        return rejoin(_LINE_READERS[self.format](self.source.lines()), slashes=self.format == "conv")


def open_corpus_file(path: Path, format: str | None = None) -> CorpusFile:
    """Find a file's encoding and, unless it is given, its format."""
    source = open_source(path)
    if format is None:
        sample = take_sample(path)
        format = detect_format(sample.text, sample.complete, bare_suffix(path))
    return CorpusFile(source, format)


def read_corpus(
    path: Path | str,
    on_bad: OnBad | None = None,
    *,
    format: str | None = None,
    keep_system: bool = False,
    tally: Tally | None = None,
    on_skip: OnSkip | None = None,
) -> Iterator[Dialogue]:
    """The dialogues of a file, or of the dialogue files under a folder, in order.

    A record that is no dialogue raises CorpusError, or is handed to `on_bad` and skipped.
    `format` is a name in FORMATS; without it each file's content tells. System texts are dropped,
    or with `keep_system` begin the user's turn. `tally` counts what was met and dropped, `on_skip`
    hears of files that were passed over.
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(f"format {format!r} is unknown; choose one of {', '.join(FORMATS)}")
    count = Tally() if tally is None else tally

    def skip(file: Path, why: str) -> None:
        count.skipped.append((file, why))
        if on_skip is not None:
            on_skip(file, why)

    files = corpus_files([path], skip, format)
    return _read(files, on_bad, format, keep_system, count)


def _read(
    files: list[Path], on_bad: OnBad | None, format: str | None, keep_system: bool, tally: Tally
) -> Iterator[Dialogue]:
    for file in files:
        tally.files += 1
        yield from read_file(open_corpus_file(file, format), on_bad, keep_system, tally)


def read_file(file: CorpusFile, on_bad: OnBad | None, keep_system: bool, tally: Tally) -> Iterator[Dialogue]:
    """The dialogues of one opened file."""
    source = file.source
    if source.broken is not None and on_bad is None:
        raise CorpusError(source.path, source.broken, _undecodable(source))
    for record in file.records():
        if (
            isinstance(record, Record)
            and source.broken is not None
            and any("\ufffd" in t for t in record.texts)
        ):
            record = Problem(record.line, _undecodable(source))
        if isinstance(record, Problem):
            tally.bad += 1
            error = CorpusError(source.path, record.line, record.message)
            if on_bad is None:
                raise error
            on_bad(error)
        elif (dialogue := assemble(record, tally, keep_system)) is not None:
            yield dialogue


def _undecodable(source: Source) -> str:
    return f"has a byte that is not {source.encoding}; expected UTF-8, UTF-16 or GB18030 text throughout"
