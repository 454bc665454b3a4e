"""Clean texts, join what was split into characters, and make a Dialogue of a Record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, cycle, islice
from operator import ne
from typing import cast

from chatgpt2.corpus.record import Problem, Record, Tally
from chatgpt2.dialogue import Dialogue, Role, Turn

_ALTERNATE: tuple[Role, Role] = ("user", "bot")

# Control and format characters that show nothing. U+200D stays: it holds emoji together.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_HAN_PAIR = re.compile(r"[㐀-䶿一-鿿]{2}")
_HAN_TWICE = re.compile(r"[㐀-䶿一-鿿][^㐀-䶿一-鿿]*[㐀-䶿一-鿿]")
_WORD = re.compile(r"[A-Za-z0-9À-ɏ]{2}")
_SPACE_TO_DROP = re.compile(r"(?<![A-Za-z0-9À-ɏ,.!?;:]) | (?![A-Za-z0-9À-ɏ])")
_SLASH_TO_SPACE = re.compile(r"(?<=[A-Za-z0-9À-ɏ])/(?=[A-Za-z0-9À-ɏ])")


def clean(text: str) -> str:
    """`text` without white space around it, runs of it made one space, and nothing invisible.

    Lines of a longer text stay lines; U+2028 and its kin are spaces, not line ends.
    """
    text = text.strip()
    if text.isprintable():  # no tab, line end, control or format character: nearly every text
        return " ".join(text.split()) if "  " in text else text
    text = _LONE_SURROGATE.sub("\ufffd", _INVISIBLE.sub("", text)).replace("\r", "\n")
    lines = (" ".join(line.split()) for line in text.split("\n"))
    text = "\n".join(line for line in lines if line)
    return text if text.strip("\u200d\ufe0f\n ") else ""


def join_spaced(text: str) -> str:
    """A text of space-separated characters as it was written: 我 爱 你 → 我爱你, p l u s → plus.

    Where words stand between the spaces (hello world) the spaces between Latin words stay.
    """
    if text.count(" ") * 2 + 1 == len(
        text
    ):  # a clean text never has two in a row: every other one is a space
        return text[::2]
    if " " not in text or _HAN_PAIR.search(text):
        return text
    return _SPACE_TO_DROP.sub("", text) if _WORD.search(text) else text.replace(" ", "")


def join_slashed(text: str) -> str:
    """A text of words separated by slashes as it was written: 你/好/啊 → 你好啊."""
    return _SLASH_TO_SPACE.sub(" ", text).replace("/", "") or text


def looks_spaced(texts: Iterable[str]) -> bool:
    """Most texts with two Han characters never have them side by side."""
    judged = [text for text in texts if _HAN_TWICE.search(text)]
    return sum(_HAN_PAIR.search(text) is None for text in judged) * 2 > len(judged)


def looks_slashed(texts: Iterable[str]) -> bool:
    """Nearly every text of four characters and more has a slash inside."""
    judged = [text for text in texts if len(text) > 3]
    return sum("/" in text[1:-1] for text in judged) > 0.8 * len(judged)


def rejoin(records: Iterable[Record | Problem], slashes: bool = False) -> Iterator[Record | Problem]:
    """The records, with split texts joined if the first two hundred show that the file has such."""
    records = iter(records)
    head = list(islice(records, 200))
    texts = [text for record in head if isinstance(record, Record) for text in record.texts]
    records = chain(head, records)
    if slashes and looks_slashed(texts):
        return _mapped(records, join_slashed)
    return _mapped(records, join_spaced) if looks_spaced(texts) else records


def _mapped(records: Iterable[Record | Problem], join: Callable[[str], str]) -> Iterator[Record | Problem]:
    for record in records:
        if isinstance(record, Record):
            yield Record(record.line, [join(text) for text in record.texts], record.roles)
        else:
            yield record


def assemble(record: Record, tally: Tally, keep_system: bool = False) -> Dialogue | None:
    """The dialogue of a record: no empty turn, no two turns of one speaker in a row, or None."""
    if all(record.texts) and _take_turns(record.roles):
        turns = tuple(map(Turn, cast(Iterable[Role], record.roles or cycle(_ALTERNATE)), record.texts))
    else:
        turns = tuple(_merged(_spoken(record, tally, keep_system), tally))
    if not turns:
        tally.empty += 1
        return None
    tally.dialogues += 1
    tally.turns += len(turns)
    tally.single += len(turns) == 1
    return Dialogue(turns)


def _take_turns(roles: Sequence[str] | None) -> bool:
    """Whether user and bot speak alternately, as nearly always."""
    if roles is None:
        return True
    return "system" not in roles and "tool" not in roles and all(map(ne, roles, roles[1:]))


def _spoken(record: Record, tally: Tally, keep_system: bool) -> Iterator[Turn]:
    """The texts that somebody said, empty ones left out."""
    for role, text in zip(record.roles or cycle(_ALTERNATE), record.texts, strict=False):
        if role == "tool":
            tally.tool += 1
            continue
        if role == "system":
            tally.system += 1
        if text and (role != "system" or keep_system):
            yield Turn("bot" if role == "bot" else "user", text)


def _merged(turns: Iterable[Turn], tally: Tally) -> Iterator[Turn]:
    last: Turn | None = None
    for turn in turns:
        if last is not None and last.role == turn.role:
            tally.merged += 1
            last = Turn(last.role, f"{last.text}\n{turn.text}")
            continue
        if last is not None:
            yield last
        last = turn
    if last is not None:
        yield last
