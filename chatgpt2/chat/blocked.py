"""Words that are neither answered nor said."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import ahocorasick

from chatgpt2.errors import ConfigError


class BlockedWords:
    """A list of words, looked for all at once, however long it is.

    Width, case, and signs and spaces between the letters do not hide a word: 敏 感-词 holds 敏感词. A word of Latin
    letters or digits counts only where no further ones stand beside it.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._automaton = ahocorasick.Automaton()
        for word in words:
            if folded := "".join(letter for _, letter in _letters(word)):
                self._automaton.add_word(folded, folded)
        self._count = len(self._automaton)
        self._longest = max(map(len, self._automaton), default=0)
        if self._count:
            self._automaton.make_automaton()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The words of a file, one a line; empty lines and those after # are passed over. Raises ConfigError."""
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8: save the list of blocked words as UTF-8") from error
        except OSError as error:
            raise ConfigError(f"the list of blocked words {path} cannot be read: {error.strerror}") from error
        words = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        for word in words:
            if not any(_letters(word)):
                raise ConfigError(f"{path}: {word!r} has no letter in it, so it cannot be a blocked word")
        return cls(words)

    def __len__(self) -> int:
        return self._count

    def hit(self, text: str, more: bool = False) -> bool:
        """Whether one of the words is in the text. `more`: it goes on, so its last Latin word may become another."""
        if not self._count:
            return False
        letters = list(_letters(text))
        folded = "".join(letter for _, letter in letters)
        for end, word in self._automaton.iter(folded):
            start = end - len(word) + 1
            open_end = more and end == len(letters) - 1 and letters[end][1].isascii()
            if not (open_end or _runs_on(letters, start - 1, start) or _runs_on(letters, end, end + 1)):
                return True
        return False

    def held(self, text: str) -> int:
        """How many characters at the end of a text that goes on may yet turn out to be of one of the words."""
        if not self._count:
            return 0
        last = list(_letters(text))[-self._longest :]
        tails = (last[start:] for start in range(len(last)))
        begun = (tail for tail in tails if self._automaton.match("".join(letter for _, letter in tail)))
        return next((len(text) - tail[0][0] for tail in begun), 0)


def _letters(text: str) -> Iterable[tuple[int, str]]:
    """The letters and digits, folded, each with the place in `text` where it stands."""
    for place, original in enumerate(text):
        for letter in unicodedata.normalize("NFKC", original).casefold():
            if letter.isalnum():
                yield place, letter


def _runs_on(letters: list[tuple[int, str]], left: int, right: int) -> bool:
    """Whether two neighbours are of one Latin word or number."""
    if left < 0 or right >= len(letters):
        return False
    near = letters[right][0] - letters[left][0] <= 1
    return near and letters[left][1].isascii() and letters[right][1].isascii()
