"""Measure a corpus against a codec before anything is trained on it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from chatgpt2.corpus.files import OnSkip, corpus_files
from chatgpt2.corpus.read import CorpusFile, open_corpus_file, read_file
from chatgpt2.corpus.record import Tally
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import CorpusError

if TYPE_CHECKING:
    from chatgpt2.codec import Codec

BATCH_CHARACTERS = 500_000  # measured at once
KEPT_PROBLEMS = 100  # of a file, and as many unknown characters
PERCENTILES = (50, 90, 95, 99)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a file, or all of them together, holds. Lengths are in tokens, with the special ones."""

    dialogues: int
    turns: int
    characters: int
    single: int  # dialogues of one turn
    duplicates: int  # dialogues that came before
    mean_length: float
    percentiles: dict[int, int]
    longest: int
    split: int  # dialogues longer than the model's length, made into several examples
    cut: int  # turns longer than it, which lose their end
    outside: int  # characters that the vocabulary does not have
    outside_top: list[tuple[str, int]]  # the most frequent of them

    @property
    def outside_share(self) -> float:
        return self.outside / max(1, self.characters)

    @property
    def split_share(self) -> float:
        return self.split / max(1, self.dialogues)

    @property
    def cut_share(self) -> float:
        return self.cut / max(1, self.turns)


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file. `error`: why it, or the rest of it, could not be read."""

    path: Path
    format: str | None
    encoding: str | None
    figures: Figures
    tally: Tally
    problems: list[tuple[int | None, str]]  # the first bad records: line, what was expected
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """All files, and all of them taken as one corpus."""

    files: list[FileReport]
    total: Figures
    skipped: list[tuple[Path, str]]
    length: int

    @property
    def bad(self) -> int:
        return sum(file.tally.bad for file in self.files)


def check_corpus(
    paths: Iterable[Path | str],
    codec: Codec,
    *,
    format: str | None = None,
    keep_system: bool = False,
    progress: Callable[[Path, int], None] | None = None,
) -> CorpusReport:
    """Read everything once and measure it. Memory does not grow with it but for 8 bytes a dialogue."""
    skipped: list[tuple[Path, str]] = []
    total = _Measure(codec)
    reports = []
    note: OnSkip = lambda path, why: skipped.append((path, why))  # noqa: E731
    for path in corpus_files(paths, note, format):
        measure = _Measure(codec)
        reports.append(_check_file(path, measure, format, keep_system, progress))
        total.add(measure)
    return CorpusReport(reports, total.figures(), skipped, codec.window)


def _check_file(
    path: Path,
    measure: _Measure,
    format: str | None,
    keep_system: bool,
    progress: Callable[[Path, int], None] | None,
) -> FileReport:
    tally = Tally(files=1)
    problems: list[tuple[int | None, str]] = []

    def note(error: CorpusError) -> None:
        if len(problems) < KEPT_PROBLEMS:
            problems.append((error.line, error.problem))

    file: CorpusFile | None = None
    failure = None
    try:
        file = open_corpus_file(path, format)
        for batch in _batches(read_file(file, note, keep_system, tally)):
            measure.take(batch)
            if progress:
                progress(path, tally.dialogues)
    except CorpusError as error:
        failure = error.problem
    return FileReport(
        path,
        file.format if file else None,
        file.source.encoding if file else None,
        measure.figures(),
        tally,
        problems,
        failure,
    )


def _batches(dialogues: Iterable[Dialogue]) -> Iterator[list[Dialogue]]:
    batch: list[Dialogue] = []
    characters = 0
    for dialogue in dialogues:
        batch.append(dialogue)
        characters += sum(len(turn.text) for turn in dialogue.turns)
        if characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


@dataclass(slots=True)
class _Measure:
    """The running counts of a file."""

    codec: Codec
    turns: int = 0
    single: int = 0
    split: int = 0
    cut: int = 0
    lengths: Counts = field(default_factory=lambda: np.zeros(0, np.int64))  # [longest + 1] dialogues
    points: Counts = field(default_factory=lambda: np.zeros(0, np.int64))  # [largest code point + 1]
    hashes: array[int] = field(default_factory=lambda: array("q"))  # one of each dialogue

    def take(self, dialogues: Sequence[Dialogue]) -> None:
        texts = [[turn.text for turn in dialogue.turns] for dialogue in dialogues]
        every = [text for said in texts for text in said]
        self.hashes.extend(hash("\n\n".join(said)) for said in texts)
        utf32 = "".join(every).encode("utf-32-le", "surrogatepass")
        self.points = _plus(self.points, np.bincount(np.frombuffer(utf32, "<u4")))
        sizes = np.diff(self.codec.encode_texts(every)[1])  # [turns] tokens
        turns = np.fromiter(map(len, texts), np.int64, len(texts))  # [dialogues]
        starts = np.cumsum(turns) - turns
        lengths = np.add.reduceat(sizes + 1, starts) + 1  # [dialogues] a [SEP] per turn, one [CLS]
        self.lengths = _plus(self.lengths, np.bincount(lengths))
        self.turns += len(every)
        self.single += int((turns == 1).sum())
        # As the codec does: [CLS] and [SEP] leave room for window - 2 tokens of a turn.
        self.split += int(((lengths > self.codec.window) & (turns > 1)).sum())
        self.cut += int((sizes > self.codec.window - 2).sum())

    def add(self, other: _Measure) -> None:
        self.lengths = _plus(self.lengths, other.lengths)
        self.points = _plus(self.points, other.points)
        self.hashes.extend(other.hashes)
        self.turns += other.turns
        self.single += other.single
        self.split += other.split
        self.cut += other.cut

    def figures(self) -> Figures:
        dialogues = len(self.hashes)
        sums = np.cumsum(self.lengths)
        outside = self._outside()
        return Figures(
            dialogues=dialogues,
            turns=self.turns,
            characters=int(self.points.sum()),
            single=self.single,
            duplicates=dialogues - len(np.unique(np.frombuffer(self.hashes, np.int64))) if dialogues else 0,
            mean_length=float(self.lengths @ np.arange(len(self.lengths))) / max(1, dialogues),
            percentiles={p: int(np.searchsorted(sums, dialogues * p / 100)) for p in PERCENTILES},
            longest=max(0, len(self.lengths) - 1),
            split=self.split,
            cut=self.cut,
            outside=sum(count for _, count in outside),
            outside_top=outside[:KEPT_PROBLEMS],
        )

    def _outside(self) -> list[tuple[str, int]]:
        """The characters that become [UNK] and how often each comes, the most frequent first."""
        seen = np.flatnonzero(self.points)
        ids, offsets = self.codec.encode_texts([chr(point) for point in seen])
        counts = [
            (chr(point), int(self.points[point]))
            for point, start, end in zip(seen, offsets, offsets[1:], strict=False)
            if self.codec.unk_id in ids[start:end]
        ]
        return sorted(counts, key=lambda item: (-item[1], item[0]))


def _plus(one: Counts, other: Counts) -> Counts:
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    added = longer.copy()
    added[: len(shorter)] += shorter
    return added
