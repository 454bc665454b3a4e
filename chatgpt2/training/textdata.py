"""The texts of a run: read, shared out between training, evaluation and test, tokenised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from chatgpt2.batches import held_out_count
from chatgpt2.corpus.texts import TextSource, encodings, text_files
from chatgpt2.errors import ConfigError
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokens import TokenFile, fingerprint_of, text_hash, tokenise_texts
from chatgpt2.training.options import FileOptions
from chatgpt2.training.watch import Observer

FORMAT = 1  # raise it when the same files come to give other texts
_LEAST = 10_000
"""Characters of a stream below which none are held out unless asked for."""


@dataclass(frozen=True, slots=True)
class Part:
    """The texts of `source` whose place lies in `share`: of a stream the character that they begin with, of
    others their hash. Equal texts are so always on one side."""

    source: TextSource
    share: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[str]:
        if self.share is None:
            yield from self.source
            return
        first, end = self.share
        place = _places(self.source.shape == "stream")
        for text in self.source:
            if first <= place(text) < end:
                yield text

    @property
    def described(self) -> list[object]:
        """Names what is read, beside the content of the files."""
        source = self.source
        return [FORMAT, source.shape, source.field, source.clean, self.share]


Parts = tuple[Part, Part | None, Part | None]
"""To train on, to evaluate on, to test on."""


def _places(stream: bool) -> Callable[[str], int]:
    if not stream:
        return text_hash
    at = 0

    def place(text: str) -> int:
        nonlocal at
        at += len(text)
        return at - len(text)

    return place


def read_parts(options: FileOptions) -> Parts:
    """The three parts of the texts, as `options` share them out."""

    def source(paths: tuple[Path, ...]) -> TextSource:
        return TextSource(text_files(paths), options.shape, options.field, options.clean)

    texts = source(options.paths)
    if options.validation or options.test:
        held, test = (Part(source(paths)) if paths else None for paths in (options.validation, options.test))
        return Part(texts), held, test
    stream = options.shape == "stream"
    bounds = _stream_bounds(texts, options.split) if stream else bounds_of(texts, options.split)
    train, held, test = (
        replace(Part(texts), share=share) if share[0] < share[1] else None for share in bounds
    )
    if train is None:
        raise ConfigError("--split leaves no text to train on: give it a larger share")
    return train, held, test


def _fractions(split: tuple[float, ...]) -> tuple[float, float, float]:
    train, held, test = (*(share / 100 for share in split), 0.0, 0.0)[:3]
    return train, held, test


def _stream_bounds(texts: TextSource, split: tuple[float, ...] | None) -> list[tuple[int, int]]:
    """The end of a text is held out, and after it comes the test."""
    total = sum(map(len, texts))
    shares = _fractions(split) if split else (0.95, 0.05, 0.0) if total >= _LEAST else (1.0, 0.0, 0.0)
    ends = [round(total * share) for share in accumulate(shares)]
    return list(zip([0, *ends], ends, strict=False))


def bounds_of(texts: Iterable[str], split: tuple[float, ...] | None) -> list[tuple[int, int]]:
    """The texts with the lowest hashes are the test, those after them are held out."""
    hashes = np.unique(np.fromiter(map(text_hash, texts), np.uint64)).tolist()
    if split:
        _, held, test = (round(len(hashes) * share) for share in _fractions(split))
    else:
        held, test = held_out_count(len(hashes), None), 0
    tested, trained = (hashes[n] if n < len(hashes) else 1 << 64 for n in (test, test + held))
    return [(trained, 1 << 64), (tested if held else trained, trained), (0, tested if test else 0)]


def tell_encodings(sources: Iterable[tuple[Path, ...]], observer: Observer) -> None:
    """Say what was not taken for UTF-8: a person sees at once if it was taken for the wrong thing."""
    for file, encoding in encodings(dict.fromkeys(chain.from_iterable(sources))):
        observer.notice(f"{file} is read as {encoding}")


def tokenise_part(part: Part | None, codec: TextCodec, cache: Path) -> TokenFile | None:
    """The token file of a part, from `cache` if it holds it; None where nothing is in it."""
    if part is None or next(iter(part), None) is None:
        return None
    wrap = part.source.shape != "stream"
    fingerprint = fingerprint_of(part.source.files, [codec.fingerprint, wrap, part.described])
    return tokenise_texts(lambda: part, codec, wrap=wrap, cache=cache, fingerprint=fingerprint)
