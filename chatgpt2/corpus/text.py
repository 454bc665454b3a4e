"""Readers of plain text: utterance per line, tab-separated turns, and `E`/`M` .conv."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chatgpt2.corpus.normalise import clean
from chatgpt2.corpus.record import MAX_TURNS, Problem, Record

_TOO_LONG = Problem(0, f"a dialogue of {MAX_TURNS:,} turns or more; expected blank lines between dialogues")


def read_blocks(lines: Iterable[str]) -> Iterator[Record | Problem]:
    """One utterance per line; one blank line or more ends a dialogue."""
    texts: list[str] = []
    start, overlong = 1, False
    for number, line in enumerate(lines, 1):
        if text := clean(line):
            if not texts:
                start = number
            texts.append(text)
            if len(texts) >= MAX_TURNS:
                overlong, texts = True, texts[:1]
        elif texts:
            yield _TOO_LONG._replace(line=start) if overlong else Record(start, texts)
            texts, overlong = [], False
    if texts:
        yield _TOO_LONG._replace(line=start) if overlong else Record(start, texts)


def read_tabs(lines: Iterable[str]) -> Iterator[Record | Problem]:
    """One dialogue per line, its turns separated by tabs."""
    for number, line in enumerate(lines, 1):
        texts = [clean(cell) for cell in line.split("\t")]
        if any(texts):
            yield Record(number, texts)


def read_conv(lines: Iterable[str]) -> Iterator[Record | Problem]:
    """`E` on a line of its own begins a dialogue, `M text` is a turn."""
    texts: list[str] = []
    start = 1
    for number, line in enumerate(lines, 1):
        line = line.lstrip("\ufeff")  # files may have been put one after another
        kind, text = line[:1], clean(line[1:])
        if kind == "M" and (not text or line[1].isspace()):
            texts.append(text)
        elif kind == "E" and not text:
            if texts:
                yield Record(start, texts)
            texts, start = [], number
        elif line.strip():
            yield Problem(number, "expected `E` alone or `M ` and a text")
    if texts:
        yield Record(start, texts)
