"""Text → token ids: exactly what BertTokenizerFast gives, at the speed of numpy.

Chinese text is almost all characters that BERT makes a token of their own, so one table from code point to
id does nearly everything at once for thousands of texts. What is left are runs of characters inside words
(Latin, digits, kana, emoji …): each distinct run goes through the real tokenizer once and is remembered. The
table itself is filled by asking the real tokenizer about each code point the first time it occurs, so the two
agree by construction, whatever Unicode version the library was built with.

The real tokenizer here knows no special tokens: "[SEP]" typed by a person is the characters "[", "SEP", "]",
as BertTokenizerFast(split_special_tokens=True) reads it. Nobody can end a turn or forge a dialogue by typing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from string import ascii_uppercase

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece as WordPieceModel

Array = npt.NDArray[np.generic]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

# What the table says of a code point that is not simply one id. From WORD down: part of a run.
GAP = -1  # white space: ends a run, leaves nothing
DROP = -2  # removed before anything is split: a run goes on across it
WORD = -3  # a character inside words: joins the run
START = -4  # the same, but a new run begins here
ALONE = -5  # a run of one character
UNSEEN = -6  # not yet asked

MARKER = re.compile(r"\[[A-Za-z]+[0-9]*\]|<[A-Za-z]+>")
LONGEST_KEPT = 100  # WordPiece gives up on longer words, so remembering them is waste
RUNS_KEPT = 200_000  # distinct runs remembered: some 40 MB
IDS_KEPT = 1_000_000  # ids of whole texts remembered: some 40 MB


class WordPiece:
    """The tokenizer of one vocabulary. Not safe to share between threads: it learns as it reads."""

    def __init__(self, vocabulary: Sequence[str], lowercase: bool) -> None:
        self._tokenizer = Tokenizer(
            WordPieceModel({entry: i for i, entry in enumerate(vocabulary)}, unk_token="[UNK]")
        )
        normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        self._tokenizer.normalizer = normalizer
        self._normalize: Callable[[str], str] = normalizer.normalize_str
        self._splitter = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.pre_tokenizer = self._splitter
        self._cleaner = normalizers.BertNormalizer(handle_chinese_chars=False, lowercase=False)
        self.mapping: Mapping[int, str] = text_mapping(vocabulary, self._normalize, self._split)
        self._table: Int32 = np.full(0x110000, UNSEEN, np.int32)
        self._runs: dict[str, tuple[int, ...]] = {}
        self._recalled: dict[str, list[int]] = {}
        self._ids_kept = 0

    def encode(self, texts: Sequence[str]) -> tuple[Int32, Int64]:
        """All texts at once: ids [tokens], and offsets [texts + 1] of each text's ids in it."""
        text = "".join(texts)
        bounds = offsets_of(np.fromiter(map(len, texts), np.int64, len(texts)))
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")  # [characters]
        codes = self._codes(points)
        kept = codes != DROP
        if not kept.all():
            points, codes, bounds = points[kept], codes[kept], offsets_of(kept)[bounds]
            text = points.tobytes().decode("utf-32-le")
        starts, ends = _find_runs(codes, bounds)
        pieces = self._solve([text[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
        counts = (codes >= 0).astype(np.int64)
        counts[starts] = np.fromiter(map(len, pieces), np.int64, len(pieces))
        ids = np.repeat(codes, counts)
        ids[ids < 0] = np.fromiter(chain.from_iterable(pieces), np.int32)
        return ids, offsets_of(counts)[bounds]

    def recall(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, remembered for the next time: a prompt repeats all but the end of the one before."""
        # Not set(texts) - self._recalled.keys(), which goes through all that is remembered.
        new = [text for text in dict.fromkeys(texts) if text not in self._recalled]
        if new:
            self._remember(new, texts)
        return [self._recalled[text] for text in texts]

    def _remember(self, new: list[str], wanted: Sequence[str]) -> None:
        ids, offsets = self.encode(new)
        self._ids_kept += len(ids) + len(new)
        if self._ids_kept > IDS_KEPT:
            self._recalled = {text: self._recalled[text] for text in wanted if text in self._recalled}
            self._ids_kept = sum(len(known) + 1 for known in self._recalled.values()) + len(ids) + len(new)
        found = (ids[a:b].tolist() for a, b in pairwise(offsets.tolist()))
        self._recalled.update(zip(new, found, strict=True))

    def unwritten(self, entries: Sequence[str]) -> tuple[int, ...]:
        """See `unwritten`."""
        return unwritten(entries, self._normalize, self._split)

    def _codes(self, points: npt.NDArray[np.uint32]) -> Int32:
        codes: Int32 = self._table[points]
        if codes.size and codes.min() == UNSEEN:
            for point in np.unique(points[codes == UNSEEN]).tolist():
                self._table[point] = self._ask(point)
            codes = self._table[points]
        return codes

    def _ask(self, point: int) -> int:
        """The table's entry for a code point. Between two letters it shows what it does to its neighbours."""
        if 0xD800 <= point < 0xE000:  # half a surrogate pair is no text; the real tokenizer refuses it
            return DROP
        char = self.mapping.get(point, chr(point))
        if len(char) > 1:
            return START if char[0] == " " else ALONE
        if not char or self._cleaner.normalize_str(f"x{char}x") == "xx":
            return DROP
        words = self._split(self._normalize(f"x{char}x"))
        if words[0] != "x" or words[-1] != "x":
            return WORD
        if len(words) == 2:
            return GAP
        ids = self._ask_runs([chr(point)])[0]
        return ids[0] if len(ids) == 1 else ALONE

    def _split(self, normalized: str) -> list[str]:
        return [word for word, _ in self._splitter.pre_tokenize_str(normalized)]

    def _solve(self, runs: list[str]) -> list[tuple[int, ...]]:
        distinct = set(runs)
        new = list(distinct - self._runs.keys())
        if len(self._runs) + len(new) > RUNS_KEPT:
            self._runs.clear()
            new = list(distinct)
        self._runs.update(zip(new, self._ask_runs(new), strict=True))
        solved = [self._runs[run] for run in runs]
        for run in new:
            if len(run) > LONGEST_KEPT:
                del self._runs[run]
        return solved

    def _ask_runs(self, runs: Sequence[str]) -> list[tuple[int, ...]]:
        """Each run's ids. In one call, but not `encode_batch`: its threads complain of any later fork."""
        if not runs:
            return []
        texts = [run.translate(self.mapping) for run in runs]
        encoding = self._tokenizer.encode(texts, is_pretokenized=True, add_special_tokens=False)
        ids: list[list[int]] = [[] for _ in runs]
        for index, token in zip(encoding.word_ids, encoding.ids, strict=True):
            if index is not None:
                ids[index].append(token)
        return [tuple(run) for run in ids]


def offsets_of(counts: Array) -> Int64:
    """[n] sizes → [n + 1] positions at which they begin; the last is their sum."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _find_runs(codes: Int32, bounds: Int64) -> tuple[Int64, Int64]:
    """First and one-past-last positions of the runs; a text's bounds end a run."""
    inside = codes <= WORD
    joined = np.zeros(len(codes) + 1, np.bool_)  # goes on from the character before
    joined[1:-1] = (codes[1:] == WORD) & inside[:-1] & (codes[:-1] != ALONE)
    joined[bounds] = False
    starts = np.flatnonzero(inside & ~joined[:-1])
    ends = np.flatnonzero(inside & ~joined[1:]) + 1
    return starts, ends


# What may stand for a character that the vocabulary does not have, best first.
REPLACEMENTS: dict[str, tuple[str, ...]] = {
    "“": ('"', "＂"),
    "”": ('"', "＂"),
    "„": ("“", '"'),
    "‟": ("“", '"'),
    "〝": ("“", '"'),
    "〞": ("”", '"'),
    "‘": ("'", "＇"),
    "’": ("'", "＇"),
    "‛": ("‘", "'"),
    "´": ("’", "'"),
    "`": ("'",),
    "′": ("'",),
    "″": ('"',),
    "「": ("“", '"'),
    "」": ("”", '"'),
    "『": ("“", '"'),
    "』": ("”", '"'),
    "﹁": ("「", "“", '"'),
    "﹂": ("」", "”", '"'),
    "…": ("⋯", "..."),
    "⋯": ("…", "..."),
    "‥": ("..",),
    "—": ("–", "―", "－", "-"),
    "―": ("—", "–", "-"),
    "–": ("—", "-"),
    "‐": ("-",),
    "‑": ("-",),
    "−": ("-",),
    "─": ("—", "-"),
    "━": ("—", "-"),
    "·": ("・", "•", "‧"),
    "•": ("·", "・"),
    "・": ("·", "•"),
    "‧": ("·", "•"),
    "～": ("~",),
    "･": ("·", "・"),
    "〜": ("～", "~"),
    "∼": ("~", "～"),
    "~": ("～",),
    "｡": ("。",),
    "､": ("、",),
    "﹑": ("、",),
    "¥": ("￥",),
    "￥": ("¥",),
    "♥": ("❤",),
    "❤": ("♥",),
}
# Code points that only vary the character before them: text and emoji style, key caps, skin tones.
MODIFIERS = (*range(0xFE00, 0xFE10), 0x20E3, *range(0x1F3FB, 0x1F400))


def _candidates() -> dict[str, tuple[str, ...]]:
    """REPLACEMENTS, full-width and ASCII forms for each other, small letters for capitals, plain for accented."""
    found = dict(REPLACEMENTS)
    for char in map(chr, (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))):
        plain = "".join(part for part in unicodedata.normalize("NFD", char) if part.isascii())
        if plain:
            found[char] = (plain, plain.lower())
    for point in range(0x21, 0x7F):
        narrow, wide = chr(point), chr(point + 0xFEE0)
        found[wide] = (*found.get(wide, ()), narrow, narrow.lower())
        if narrow.isupper():
            found[narrow] = (narrow.lower(),)
        if not narrow.isalnum():
            found[narrow] = (wide, *found.get(narrow, ()))
    return found


def text_mapping(
    vocabulary: Sequence[str], normalize: Callable[[str], str], split: Callable[[str], list[str]]
) -> dict[int, str]:
    """A table for `str.translate` that turns characters the vocabulary cannot write into ones it can.

    It touches only text that would become [UNK]. A character that has an entry but no `##` entry, as emoji
    often do, starts a word of its own, so that "哈😂😂" is three tokens and not one known and one [UNK].
    """
    known = {char for entry in vocabulary if not is_marker(entry) for char in entry.removeprefix("##")}
    entries = set(vocabulary)

    def lacks(char: str) -> bool:
        return not known.issuperset(normalize(char).strip())

    inner = {char for entry in vocabulary for char in entry.removeprefix("##")[len(entry) == 1 :]}
    firsts = (entry for entry in entries - inner if len(entry) == 1 and not entry.isascii())
    starts = {char: f" {char}" for char in firsts if len(split(normalize(f"x{char}x"))) == 1}
    mapping = dict(starts) | {char: "" for char in map(chr, MODIFIERS) if lacks(char)}
    for char, options in _candidates().items():
        fit = (option for option in options if entries.issuperset(normalize(option).strip()))
        if lacks(char) and (best := next(fit, None)):
            mapping[char] = "".join(starts.get(c, c) for c in best)
    return {ord(char): text for char, text in mapping.items()}


def unwritten(
    entries: Sequence[str], normalize: Callable[[str], str], split: Callable[[str], list[str]]
) -> tuple[int, ...]:
    """The ids of `##` entries that no text gives, because what they stand for is never inside a word.

    BERT makes every Chinese character a word of its own, so the 7,322 of bert-base-chinese are never used.
    """
    inside = {i: f"x{entry[2:]}" for i, entry in enumerate(entries) if entry.startswith("##")}
    words = set(split(normalize(" ".join(inside.values()))))
    return tuple(i for i, word in inside.items() if word not in words)


def is_marker(entry: str) -> bool:
    """Whether an entry stands for something that is not text: [SEP], [unused7], <S>."""
    return MARKER.fullmatch(entry) is not None


def has_capitals(vocabulary: Sequence[str]) -> bool:
    """Whether any entry that is text has a capital Latin letter."""
    return any(char in ascii_uppercase for entry in vocabulary if not is_marker(entry) for char in entry)
