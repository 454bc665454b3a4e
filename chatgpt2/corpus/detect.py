"""Tell the format of a file from the text at its beginning."""

from __future__ import annotations

import csv
import json
import re

from chatgpt2.corpus.jsonstream import JsonFault, JsonText
from chatgpt2.corpus.names import pair_of
from chatgpt2.corpus.shapes import is_record
from chatgpt2.corpus.table import header_cells, is_header

FORMATS = ("text", "tabs", "json", "jsonl", "csv", "tsv", "conv")

_CONV_LINE = re.compile(r"E\s*|M(\s.*)?", re.DOTALL)
_JSON_START = re.compile(r'\s*(\[\s*[\[{"]|\{\s*")')
_SHOWN_LINES = 200


def detect_format(text: str, complete: bool = True, suffix: str = "") -> str:
    """The name in FORMATS of the format that `text`, the beginning of a file, is in.

    `complete`: the text is the whole file. The suffix decides only where the content does not.
    """
    lines = [line for line in text.split("\n") if line.strip()][:_SHOWN_LINES]
    if not lines:
        return "text"
    if text.lstrip()[:1] in ("[", "{") and (found := _json(text, lines, complete, suffix)):
        return found
    if _is_conv(lines):
        return "conv"
    if sum("\t" in line.strip() for line in lines) >= 0.6 * len(lines):
        return "tsv" if _has_header([line.split("\t") for line in lines]) else "tabs"
    if _is_csv(text, lines, suffix):
        return "csv"
    return "text"


def looks_like_prose(text: str) -> bool:
    """Whether a text of lines is paragraphs rather than utterances: nearly each stands alone, or is long."""
    blocks = [block.strip().split("\n") for block in re.split(r"\n\s*\n", text) if block.strip()]
    lines = sorted(len(line) for block in blocks for line in block)
    if not lines:
        return False
    alone = sum(len(block) == 1 for block in blocks)
    return (len(blocks) >= 5 and alone > 0.8 * len(blocks)) or lines[len(lines) // 2] > 200


def _json(text: str, lines: list[str], complete: bool, suffix: str) -> str | None:
    if len(lines) == 1 and _is_dialogue(first := _parsed(lines[0])):
        whole = isinstance(first[0], str) if isinstance(first, list) else is_record(first)
        return "jsonl" if whole else "json"
    # The first line cannot stand alone: a record or an array of them goes over several lines.
    if _parsed(lines[0]) is None and _JSON_START.match(text) and _begins_json(text, complete):
        return "json"
    # One bad record in a small file is a bad record, not a text.
    if sum(_is_dialogue(_parsed(line)) for line in lines) * 2 >= len(lines):
        return "jsonl"
    return {".json": "json", ".jsonl": "jsonl"}.get(suffix)


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_dialogue(value: object) -> bool:
    """[] or [1] may be a line of a chat; an object or a list of texts, lists or objects is not."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str | list | dict)
    return isinstance(value, dict)


def _begins_json(text: str, complete: bool) -> bool:
    """Whether the first record inside the outer bracket is JSON, as far as the text goes."""
    stream = JsonText([text])
    opening = stream.peek()
    try:
        stream.take(opening)
        stream.peek()
        stream.value()
        stream.take(",") if opening == "[" and stream.peek() != "]" else stream.peek()
    except JsonFault:
        return not complete and stream.ended and stream.peek() in ("[", "{")
    return True


def _is_conv(lines: list[str]) -> bool:
    fitting = [line[0] for line in lines if _CONV_LINE.fullmatch(line)]
    return "M" in fitting and len(fitting) >= 0.9 * len(lines)


def _has_header(rows: list[list[str]]) -> bool:
    return is_header(rows[0], rows[1:20])


def _is_csv(text: str, lines: list[str], suffix: str) -> bool:
    try:
        rows = [row for row in csv.reader(lines) if row]
    except csv.Error:
        return suffix == ".csv"
    if pair_of(header_cells(rows[0])) is not None and len(rows[0]) > 1:
        return True
    if suffix == ".csv":
        return len(rows[0]) > 1
    # Without a header, a comma in every line may be chance: ask for many lines and no blank one.
    pairs = all(len(row) == 2 and row[0].strip() and row[1].strip() for row in rows)
    return pairs and len(rows) >= 10 and "\n\n" not in text.strip().replace("\r", "")
