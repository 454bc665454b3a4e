"""Readers of JSON: a file of one array or object, taken record by record, and one value per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from chatgpt2.corpus.names import CONTAINER_KEYS
from chatgpt2.corpus.record import MAX_TURNS, Problem, Record
from chatgpt2.corpus.shapes import is_record, is_turn, record_of

# A record larger than this is a file that is not what it seems; nothing larger is kept in memory.
MAX_RECORD = 1 << 24
_BLANK = re.compile(r"[ \t\r\n\ufeff]*")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_LIST_OF_LISTS = re.compile(r"\[[ \t\r\n]*\[")
_decode = json.JSONDecoder().raw_decode


class JsonFault(ValueError):
    """The text is not JSON here. `line` is where the record begins."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


class JsonText:
    """A JSON text that arrives in chunks, read value by value; only the current one is in memory."""

    def __init__(self, chunks: Iterable[str]) -> None:
        self._chunks = iter(chunks)
        self._buffer = ""
        self._at = 0
        self._counted = 0  # up to here line ends are in _line
        self._line = 1
        self.ended = False

    @property
    def line(self) -> int:
        """The 1-based line of the next character."""
        self._line += self._buffer.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            if match := _BLANK.match(self._buffer, self._at):
                self._at = match.end()
            if self._at < len(self._buffer) or not self._more():
                return self._buffer[self._at : self._at + 1]

    def take(self, wanted: str) -> None:
        """Go past `wanted`, which must come next."""
        if self.peek() != wanted:
            raise JsonFault(self.line, f"expected {wanted}, found {self.peek() or 'the end of the file'}")
        self._at += 1

    def skip_comma(self) -> bool:
        """Go past a comma if one comes next."""
        if match := _COMMA.match(self._buffer, self._at):
            self._at = match.end()
        elif self.peek() == ",":  # in the next chunk
            self._at += 1
        else:
            return False
        return True

    def comma(self, closing: str) -> None:
        """Go past a comma, or stand before `closing`."""
        if not self.skip_comma() and self.peek() != closing:
            found = self.peek() or "the end of the file"
            raise JsonFault(self.line, f"expected a comma or {closing}, found {found}")

    def lists_follow(self) -> bool:
        """Whether a list of lists comes next."""
        self.peek()
        return _LIST_OF_LISTS.match(self._buffer, self._at) is not None

    def value(self) -> Any:
        """The next whole value; it must begin where `peek` looks."""
        while True:
            try:
                value, end = _decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not (self._cut_short(error) and self._more()):
                    raise JsonFault(self.line, self._explain(error)) from None
            except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
                raise JsonFault(self.line, f"is not usable JSON ({error})") from None
            else:
                if end < len(self._buffer) or not self._more():  # a number may go on in the next chunk
                    self._at = end
                    return value

    def skip_record(self) -> bool:
        """After a fault, go to the next line that begins as the faulty record does; False: there is none."""
        begin = self._buffer.rfind("\n", 0, self._at) + 1
        indent = self._buffer[begin : self._at]
        if indent.strip() or self._at >= len(self._buffer):
            return False
        next_one = re.compile("\n" + re.escape(indent + self._buffer[self._at]))
        while (match := next_one.search(self._buffer, self._at)) is None:
            self._at = max(self._at, len(self._buffer) - len(indent) - 2)
            if not self._more():
                return False
        self._at = match.end() - 1
        return True

    def _cut_short(self, error: json.JSONDecodeError) -> bool:
        """Whether the fault may be only the end of the buffer."""
        at_the_end = error.pos >= len(self._buffer) - 16 or error.msg.startswith("Unterminated string")
        return at_the_end and len(self._buffer) - self._at < MAX_RECORD

    def _explain(self, error: json.JSONDecodeError) -> str:
        if self.ended and error.msg.startswith("Unterminated string"):
            return "is not JSON (a string has no closing quote)"
        there = self.line + self._buffer.count("\n", self._at, error.pos)
        return f"is not JSON ({error.msg} in line {there})"

    def _more(self) -> bool:
        """Drop what is behind and read on, as much again as is waiting; False at the end."""
        line_start = self._buffer.rfind("\n", 0, self._at) + 1  # skip_record looks at the indent
        cut = line_start if self._at - line_start < 4096 else self._at
        self._line += self._buffer.count("\n", self._counted, cut)
        self._counted = max(self._counted, cut) - cut
        waiting = [self._buffer[cut:]]
        wanted = len(waiting[0]) or 1
        self._at -= cut
        while wanted > 0 and (chunk := next(self._chunks, "")):
            waiting.append(chunk)
            wanted -= len(chunk)
        self.ended = wanted > 0
        self._buffer = "".join(waiting)
        return len(waiting) > 1


def read_json(chunks: Iterable[str]) -> Iterator[Record | Problem]:
    """The records of an array, of the arrays in an object, or of values one after another."""
    text = JsonText(chunks)
    while opening := text.peek():
        try:
            if opening == "[":
                yield from _array(text)
            elif opening == "{":
                yield from _object(text)
            else:
                raise JsonFault(text.line, f"expected [ or {{, found {opening!r}")
        except JsonFault as fault:
            yield Problem(fault.line, str(fault))
            if not text.skip_record():
                return


def _array(text: JsonText) -> Iterator[Record | Problem]:
    """The records of an array; an array of turns is one record."""
    start = text.line
    text.take("[")
    first = True
    while text.peek() not in ("]", ""):
        line = text.line
        try:
            value = text.value()
        except JsonFault as fault:
            yield Problem(line, str(fault))
            if not text.skip_record():
                raise JsonFault(text.line, "the rest of the array cannot be read") from None
            continue
        if first and is_turn(value):
            text.comma("]")
            yield record_of([value, *_rest(text)], start)
            break
        yield record_of(value, line)
        first = False
        if not text.skip_comma() and text.peek() != "]":
            if text.peek() not in ("[", "{"):
                text.comma("]")  # which raises
            yield Problem(text.line, "expected a comma before this record")
    text.take("]")


def _rest(text: JsonText) -> Iterator[Any]:
    for _ in range(MAX_TURNS):
        if text.peek() == "]":
            return
        yield text.value()
        text.comma("]")


def _object(text: JsonText) -> Iterator[Record | Problem]:
    """One record, or an object that holds arrays of records (LCCC) or records by name."""
    line, found, seen = text.line, False, {}
    text.take("{")
    while text.peek() not in ("}", ""):
        key_line = text.line
        key = text.value()
        text.take(":")
        if text.peek() == "[" and (key in CONTAINER_KEYS or (key == "conversations" and text.lists_follow())):
            yield from _array(text)
            found = True
        elif is_record(value := text.value()):
            yield record_of(value, key_line)
            found = True
        else:
            seen[key] = value
        text.comma("}")
    text.take("}")
    if not found:
        yield record_of(seen, line)


def read_jsonl(lines: Iterable[str]) -> Iterator[Record | Problem]:
    """One JSON value per line."""
    for number, line in enumerate(lines, 1):
        text = line.strip(" \t\r\n\ufeff")
        if not text:
            continue
        try:
            yield record_of(json.loads(text), number)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else error
            yield Problem(number, f"is not JSON ({reason}); expected one whole JSON value per line")
