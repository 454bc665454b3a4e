"""Dialogues written in each format and read back are the same dialogues."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatgpt2.corpus import FORMATS, read_corpus
from chatgpt2.errors import CorpusError

_CHARACTERS = "你好吗我很的了在天气今吃饭，。！？～…—“”‘’😀abcXYZ019 .,!?'\"()[]{}:;#/\\-_ＡＢ１\u3042"
_TEXTS = st.text(_CHARACTERS, min_size=1, max_size=12).map(lambda t: " ".join(t.split())).filter(bool)
_DIALOGUES = st.lists(st.lists(_TEXTS, min_size=1, max_size=6), min_size=1, max_size=5)
# Two Han characters side by side in every text: no file of characters separated by spaces.
# Nor slashes: in a .conv of a few texts they would be what separates words.
_NATURAL = _DIALOGUES.map(lambda ds: [[f"天气{t}".replace("/", "|") for t in d] for d in ds])

Written = list[list[str]]


def _speakers(texts: list[str], names: tuple[str, str], keys: tuple[str, str]) -> list[dict[str, str]]:
    return [{keys[0]: names[i % 2], keys[1]: text} for i, text in enumerate(texts)]


def _conversations(dialogues: Written) -> list[dict[str, object]]:
    return [{"conversations": _speakers(d, ("human", "gpt"), ("from", "value"))} for d in dialogues]


def _messages(dialogues: Written) -> str:
    records = ({"messages": _speakers(d, ("user", "assistant"), ("role", "content"))} for d in dialogues)
    return "".join(json.dumps(record) + "\n" for record in records)


WRITERS: dict[str, Callable[[Written], str]] = {
    "text": lambda ds: "\n\n".join("\n".join(d) for d in ds),
    "tabs": lambda ds: "\n".join("\t".join(d) for d in ds),
    "json": lambda ds: json.dumps(ds, ensure_ascii=False, indent=1),
    "json in one line": lambda ds: json.dumps(ds),
    "sharegpt": lambda ds: json.dumps(_conversations(ds), ensure_ascii=False, indent=2),
    "jsonl": _messages,
    "conv": lambda ds: "".join("E\n" + "".join(f"M {t}\n" for t in d) for d in ds),
}


def _read_back(content: bytes, name: str, **options: str) -> Written:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return [[turn.text for turn in d.turns] for d in read_corpus(path, format=options.get("format"))]


@pytest.mark.parametrize("layout", WRITERS)
@settings(max_examples=60, deadline=None)
@given(
    dialogues=_NATURAL,
    line_end=st.sampled_from(["\n", "\r\n", " \r\n", "\t\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    after=st.sampled_from(["", "\n", "\n\n \n", "\r\n\r\n"]),
    codec=st.sampled_from(["utf-8", "utf-16", "gb18030"]),
)
def test_round_trip(
    layout: str, dialogues: Written, line_end: str, mark: str, after: str, codec: str
) -> None:
    format = layout.split()[0].replace("sharegpt", "json")
    content = WRITERS[layout](dialogues).replace("\n", line_end) + after
    assert _read_back((mark + content).encode(codec), "chat.txt", format=format) == dialogues


@pytest.mark.parametrize("layout", ["text", "json", "json in one line", "sharegpt", "jsonl", "conv"])
@settings(max_examples=60, deadline=None)
@given(dialogues=_NATURAL)
def test_the_format_is_found_in_the_content(layout: str, dialogues: Written) -> None:
    assert _read_back(WRITERS[layout](dialogues).encode(), "chat.txt") == dialogues


@settings(max_examples=60, deadline=None)
@given(dialogues=_NATURAL, blank=st.integers(1, 4), ends=st.sampled_from(["", " ", "　", "\t", "\u200b"]))
def test_no_empty_turn_comes_of_blank_lines_and_trailing_spaces(
    dialogues: Written, blank: int, ends: str
) -> None:
    gap = "\n" + (ends + "\n") * blank
    content = gap + gap.join("".join(f"{t}{ends}\n" for t in d) for d in dialogues) + gap
    assert _read_back(content.encode(), "chat.txt", format="text") == dialogues


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=6), header=st.booleans())
def test_csv_round_trip(pairs: list[tuple[str, str]], header: bool) -> None:
    file = io.StringIO()
    writer = csv.writer(file)
    rows = [(f"天气{q}", f"饭好{a}") for q, a in pairs]
    writer.writerows([("question", "answer"), *rows] if header else rows)
    assert _read_back(file.getvalue().encode(), "pairs.csv") == [list(row) for row in rows]


@settings(max_examples=60, deadline=None)
@given(
    dialogues=st.lists(
        st.lists(st.text("你好吗我很的，。！abcXY01", min_size=1, max_size=9), min_size=1), min_size=1
    )
)
def test_separated_characters_are_joined_again(dialogues: Written) -> None:
    dialogues = [["我爱你", *d] for d in dialogues]
    content = json.dumps([[" ".join(text) for text in d] for d in dialogues])
    assert _read_back(content.encode(), "lccc.json") == dialogues


_FRAGMENTS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"',
    "\n",
    "\r\n",
    "\t",
    " ",
    "E",
    "M ",
    "5",
    "null",
    '"messages"',
    "你好",
    "\\u12",
]
_FRAGMENTS += [
    '["你好"',
    '"role"',
    '"user"',
    "question,answer",
    '{"train":',
    '[["a"]',
    "\ufeff",
    "\ud83d",
    "\0",
    "/",
    "=",
    "1e999",
]
_ODD_TEXTS = st.lists(st.sampled_from(_FRAGMENTS), max_size=40).map(lambda parts: "".join(parts))
_ODD_BYTES = _ODD_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=60)


@settings(max_examples=400, deadline=None)
@given(
    content=_ODD_BYTES,
    suffix=st.sampled_from([".txt", ".json", ".csv"]),
    format=st.sampled_from([None, *FORMATS]),
)
def test_whatever_a_file_holds_is_dialogues_or_a_corpus_error(
    content: bytes, suffix: str, format: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"odd{suffix}"
        path.write_bytes(content)
        errors: list[CorpusError] = []
        with contextlib.suppress(CorpusError):
            for dialogue in read_corpus(path, errors.append, format=format):
                assert dialogue.turns
                assert all(turn.text.strip() == turn.text != "" for turn in dialogue.turns)
                assert all(a.role != b.role for a, b in itertools.pairwise(dialogue.turns))
                "".join(turn.text for turn in dialogue.turns).encode()
        assert len(errors) <= 2 + len(content)
