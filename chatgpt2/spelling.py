"""WordPiece entries → text as people write it, streamed.

WordPiece forgets where the spaces were. Between Han characters there are none; two Latin words have one;
around punctuation the rules below put back what English, numbers and addresses usually have: "don't", "3.14",
"Wi-Fi", "30% off", "www.example.com/a?b=1", "Hello. How are you?".
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import regex

Kind = Literal["word", "mark", "solid"]

CJK = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\u3000-\u303f\uff00-\uffef]")
MARKS = frozenset(string.punctuation + "“”‘’…–—")
OPENING = frozenset("([{“‘$#")
# After these no space follows: they open something, or join what stands on both sides.
JOINING = frozenset("([{“‘$#-/_+=@^*|\\<>`&–—")
NUMERIC = frozenset(".,:~")  # inside numbers and times: 3.14  1,000  12:30  3~5
APOSTROPHES = frozenset("'’")
AFTER_APOSTROPHE = frozenset(["s", "t", "re", "ve", "ll", "d", "m", "em", "n", "am", "cause", "clock"])
# What follows a dot inside an address or a file name.
SUFFIXES = frozenset(
    """
    com cn net org io gov edu tv cc co uk ai top xyz htm html php asp js py txt md pdf doc docx xls xlsx ppt
    zip rar exe apk jpg jpeg png gif mp3 mp4 avi json csv
    """.split()  # noqa: SIM905 (forty lines otherwise)
)


class Piece(NamedTuple):
    """One entry as text. `inner` says that it came with `##` and continues the one before."""

    text: str
    kind: Kind
    inner: bool


def piece_of(entry: str) -> Piece:
    """The piece that an entry of a vocabulary writes."""
    inner = entry.startswith("##") and len(entry) > 2
    text = entry[2:] if inner else entry
    return Piece(text, kind_of(text), inner)


def kind_of(text: str) -> Kind:
    """word: separated by spaces; mark: punctuation of Latin text; solid: Han, kana, emoji, never spaced."""
    if text in MARKS:
        return "mark"
    letter = unicodedata.category(text[0]) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd")
    return "word" if letter and not CJK.match(text) else "solid"


class Decoder:
    """Ids of one text in, whole characters and words out. `pieces[id]` is what an id writes; None: no text.

    The parts that `push` and then `finish` give add up to the text and are never taken back: a word comes when it
    can no longer grow.
    """

    def __init__(self, pieces: Sequence[Piece | None]) -> None:
        self._pieces = pieces
        self._word: list[str] = []
        self._writer = _Writer()

    def push(self, ids: Iterable[int]) -> str:
        return "".join([self._add(self._pieces[token]) for token in ids])

    def finish(self) -> str:
        """The word that was held back."""
        word, self._word = self._word, []
        return self._writer.write(_compose(word), "word") if word else ""

    def _add(self, piece: Piece | None) -> str:
        if self._word and piece and piece.inner:
            self._word.append(piece.text)
            return ""
        done = self.finish()
        if piece is None:
            return done
        if piece.inner:
            return done + self._writer.extend(piece.text, piece.kind)
        if piece.kind == "word":
            self._word.append(piece.text)
            return done
        return done + self._writer.write(piece.text, piece.kind)


def _compose(word: Sequence[str]) -> str:
    """A lower-casing vocabulary takes Hangul and accents apart; put them together again."""
    text = "".join(word)
    return text if len(word) == 1 or text.isascii() else unicodedata.normalize("NFC", text)


class _Writer:
    """Decides where spaces go. Looks only back, never ahead, so what is written stays."""

    def __init__(self) -> None:
        self._before: tuple[str, Kind] = ("", "solid")  # the one before the last
        self._last: tuple[str, Kind] = ("", "solid")
        self._quoted = False  # inside straight double quotes
        self._address = False  # inside http://… or www.…
        self._chinese = False  # something solid was written: brackets then take no space

    def write(self, text: str, kind: Kind) -> str:
        space = self._needs_space(text, kind)
        self._note(text, kind, space)
        self._before, self._last = self._last, (text, kind)
        return f" {text}" if space else text

    def extend(self, text: str, kind: Kind) -> str:
        """More of the last one, which was not a word."""
        self._last = (self._last[0] + text, kind)
        return text

    def _note(self, text: str, kind: Kind, space: bool) -> None:
        self._chinese = self._chinese or kind == "solid"
        self._quoted = self._quoted != (text == '"')
        scheme = text == self._last[0] == "/" and self._before[0] == ":"
        starts = scheme or text.lower() == "www"
        self._address = starts or (self._address and not space and kind != "solid")

    def _needs_space(self, text: str, kind: Kind) -> bool:
        last_text, last_kind = self._last
        if self._address and kind == "solid":  # or the address would seem to go on
            return text.isalpha() and last_kind == "word"
        if "solid" in (kind, last_kind):
            return False
        if kind == "mark":
            return self._needs_space_before_mark(text)
        return last_kind == "word" or self._needs_space_after_mark(last_text, text)

    def _needs_space_before_mark(self, mark: str) -> bool:
        if self._chinese or self._address:
            return False
        opening = mark in OPENING or (mark == '"' and not self._quoted)
        return opening and (self._last[1] == "word" or self._last[0] in (",", ".", "!", "?", ";", ":"))

    def _needs_space_after_mark(self, mark: str, word: str) -> bool:
        before, kind = self._before
        if self._address or kind == "solid" or mark in JOINING:
            return False
        if mark in NUMERIC and before[-1] in "0123456789%" and word[0].isdigit():
            return mark == "," and len(word) != 3
        if mark == ".":
            return not (word.lower() in SUFFIXES or (len(before) == len(word) == 1 and kind == "word"))
        if mark in APOSTROPHES and kind == "word":
            return not (word.lower() in AFTER_APOSTROPHE or len(before) == 1)
        if mark == '"':
            return not self._quoted
        return mark not in APOSTROPHES
