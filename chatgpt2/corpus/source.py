"""One file as text: unpacked, its encoding found, its lines and chunks."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from chatgpt2.corpus.plausible import other_than_gb18030
from chatgpt2.errors import CorpusError

SAMPLE_BYTES = 1 << 18
_CHUNK_BYTES = 1 << 20
_TELLING_BYTES = 1 << 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMMON = re.compile(r"[\t\n\r -~　-〿一-鿿＀-￯“”‘’…—]")
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


@dataclass(frozen=True, slots=True)
class Source:
    """A text file. `broken` is the line of the first byte that `encoding` cannot read, if any."""

    path: Path
    encoding: str
    broken: int | None = None

    def lines(self) -> Iterator[str]:
        """The lines with their ends. Only LF ends a line; the byte order mark is left out."""
        with _reading(self.path) as stream, self._text(stream) as text:
            for first in text:
                yield first.lstrip("\ufeff")
                break
            yield from text

    def chunks(self) -> Iterator[str]:
        """The same text in pieces of no particular meaning."""
        with _reading(self.path) as stream, self._text(stream) as text:
            yield text.read(SAMPLE_BYTES).lstrip("\ufeff")
            while chunk := text.read(SAMPLE_BYTES):
                yield chunk

    def _text(self, stream: BinaryIO) -> io.TextIOWrapper:
        errors = "strict" if self.broken is None else "replace"
        return io.TextIOWrapper(stream, _codec(self.encoding), errors, newline="\n")


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a file. `encoding` is a guess, None for a file that is not text."""

    data: bytes
    encoding: str | None
    complete: bool

    @property
    def text(self) -> str:
        """The sample's whole lines (of a longer file the last, broken one is left out)."""
        text = self.data.decode(_codec(self.encoding or "utf-8"), "replace").lstrip("\ufeff")
        return text if self.complete else text[: text.rfind("\n") + 1] or text


def take_sample(path: Path) -> Sample:
    """The first quarter of a megabyte, and what encoding it seems to have."""
    with _reading(path) as stream:
        data = stream.read(SAMPLE_BYTES)
        complete = not stream.read(1)
    encoding = _marked(data)
    if encoding is None and not _looks_binary(data):
        fault = _first_fault(iter([data]), "utf-8", final=complete)
        encoding = "utf-8" if fault is None or fault.damaged else "gb18030"
    return Sample(data, encoding, complete)


def open_source(path: Path) -> Source:
    """Find the encoding of the whole file: the first byte that tells may come late.

    Raises CorpusError where there is no text, or one that makes sense in an encoding that is not read here.
    """
    source = _found(path)
    if source.encoding == "gb18030" and (other := other_than_gb18030(_telling_lines(path))):
        name, convert = other
        raise CorpusError(
            path,
            None,
            f"seems to be {name}, and only UTF-8, UTF-16 and GB18030 are read: convert it first, "
            f"`{_conversion(path, convert)}`",
        )
    return source


def _conversion(path: Path, encoding: str) -> str:
    """The command that writes the text as UTF-8 beside the file."""
    plain, given = path, f"-t UTF-8 {shlex.quote(str(path))}"
    unpacked = ""
    if path.suffix == ".gz":
        plain, given, unpacked = path.with_suffix(""), "-t UTF-8", f"gzip -dc {shlex.quote(str(path))} | "
    fresh = plain.with_name(f"{plain.stem}.utf8{plain.suffix}")
    return f"{unpacked}iconv -f {encoding} {given} > {shlex.quote(str(fresh))}"


def _telling_lines(path: Path) -> Iterator[bytes]:
    """Some of the lines that are not ASCII alone. No encoding has a line end inside a character."""
    left = _TELLING_BYTES
    with _reading(path) as stream:
        while left > 0 and (line := stream.readline(_CHUNK_BYTES)):
            if not line.isascii():
                yield line
                left -= len(line)


def _found(path: Path) -> Source:
    sample = take_sample(path)
    if not sample.data:
        raise CorpusError(path, None, "is empty; nothing can be read from it")
    if sample.encoding is None:
        raise CorpusError(path, None, "is not text; expected plain text, JSON, CSV or a .gz of these")
    candidates = [_marked(sample.data)] if _marked(sample.data) else ["utf-8", "gb18030"]
    faults = []
    for encoding in cast(list[str], candidates):
        fault = _fault_in(path, encoding)
        if fault is None:
            return Source(path, encoding)
        faults.append(fault)
        if fault.damaged:
            break
    # Neither fits all of it: the one that fails less, and the line where it fails.
    worst = faults[0] if faults[0].damaged or len(faults) == 1 else max(faults, key=lambda f: f.line)
    return Source(path, worst.encoding, worst.line)


def _codec(encoding: str) -> str:
    # The byte order mark is dropped by hand, so that every encoding has one way to lose it.
    return "utf-8" if encoding == "utf-8-sig" else encoding


def _marked(data: bytes) -> str | None:
    """The encoding that a byte order mark or the zero bytes of UTF-16 give away."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding
    if b"\0" not in data:
        return None
    # Plain UTF-8 with a stray zero byte is no UTF-16: of that every other byte is zero, or it is no UTF-8.
    likely = max(("utf-16-le", "utf-16-be"), key=lambda encoding: _likeness(data, encoding))
    telling = data.count(0) * 5 > len(data) or _first_fault(iter([data]), "utf-8", final=False) is not None
    return likely if telling and _likeness(data, likely) > 0.8 else None


def _likeness(data: bytes, encoding: str) -> float:
    """The share of characters common in Chinese files if `data` is read as `encoding`."""
    text = data[:8192].decode(encoding, "replace")
    return len(_COMMON.findall(text)) / max(1, len(text))


def _looks_binary(data: bytes) -> bool:
    share = 1 - len(data.translate(None, _CONTROL)) / max(1, len(data))
    return share > (0.03 if b"\0" in data else 0.1)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Where `encoding` fails; `damaged`: the text is in it all the same, with a wrong byte."""

    encoding: str
    line: int
    damaged: bool


def _fault_in(path: Path, encoding: str) -> _Fault | None:
    with _reading(path) as stream:
        return _first_fault(iter(lambda: stream.read(_CHUNK_BYTES), b""), encoding)


def _first_fault(chunks: Iterator[bytes], encoding: str, final: bool = True) -> _Fault | None:
    decoder = codecs.getincrementaldecoder(_codec(encoding))()
    line, good = 1, 0
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            line += text.count("\n")
            good += (len(chunk) - len(text)) // 2
        decoder.decode(b"", final)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(_codec(encoding), "replace")
        rest = error.object[error.start : error.start + SAMPLE_BYTES].decode(_codec(encoding), "replace")
        good += _beyond_ascii(before) + _beyond_ascii(rest)
        wrong = rest.count("\ufffd")
        damaged = encoding.startswith("utf") and good - wrong > 4 * wrong
        return _Fault(encoding, line + before.count("\n"), damaged)
    return None


def _beyond_ascii(text: str) -> int:
    return (len(text.encode("utf-8", "replace")) - len(text)) // 2


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if they are gzip; what can go wrong is a CorpusError."""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            if packed:
                with gzip.open(raw) as stream:
                    yield cast(BinaryIO, io.BufferedReader(stream, _CHUNK_BYTES))
            else:
                yield raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(path, None, f"is a damaged gzip file ({error}); pack or fetch it again") from error
    except FileNotFoundError as error:
        raise CorpusError(path, None, "no such file or folder; check the path") from error
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(path, None, f"cannot be read ({reason}); check its rights and the disk") from error
