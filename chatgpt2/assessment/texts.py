"""Running text: read in windows, and its loss told by pieces that are the same for every vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from chatgpt2.assessment.likelihood import Losses, Progress, batch_nats
from chatgpt2.batches import Batch
from chatgpt2.checkpoint import AnyCodec
from chatgpt2.corpus.source import open_source
from chatgpt2.errors import CorpusError
from chatgpt2.quiet import quiet_transformers
from chatgpt2.tokens import Array

_CHUNK = 1_000_000  # characters read at once
_PIECE = 1000  # characters of a piece, the last line of it as a whole
_BUDGET = 4096  # places of a batch


def text_files(paths: Sequence[str | Path]) -> list[Path]:
    """The given files, and the .txt files under given folders."""
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise CorpusError(path, None, "no such file or folder; check the path")
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise CorpusError(path, None, "no .txt file in this folder; name the files themselves")
        found |= dict.fromkeys(files)
    return list(found)


def text_losses(
    model: GPT2LMHeadModel, codec: AnyCodec, paths: Sequence[str | Path], progress: Progress
) -> tuple[Losses, int]:
    """The losses of the pieces of all texts, and how many tokens are unknown to the vocabulary.

    The text is one stream in windows that follow one another, so that a token sees half a window before it on
    average, and every token but the first is predicted once. A piece is about a thousand characters: what makes
    intervals, and lets two models with different vocabularies be compared on the same pieces.
    """
    sums: dict[int, list[float]] = {}  # of a piece: nats, tokens, characters
    unknown = done = 0
    with quiet_transformers():
        for number, file in enumerate(text_files(paths)):
            size, before = file.stat().st_size, done
            for lines in _chunks(file):
                ids, owner = _ids(codec, lines)
                unknown += int((ids == _unknown(codec)).sum())
                keys = _pieces(number, lines, before, done)
                nats = _window_nats(model, ids, codec.window)
                done += sum(map(len, lines))
                _add(sums, keys, owner, nats, lines)
                progress(done - before, max(size, done - before))
    if not sums:
        raise CorpusError(", ".join(map(str, paths)), None, "no text in it; nothing can be evaluated")
    keys_found = np.array(sorted(sums), np.uint64)
    table = np.array([sums[key] for key in sorted(sums)])
    return Losses(
        keys_found, table[:, 0], table[:, 1].astype(np.int64), table[:, 2].astype(np.int64)
    ), unknown


def _unknown(codec: AnyCodec) -> int:
    return getattr(codec, "unk_id", -1)


def _chunks(file: Path) -> Iterator[list[str]]:
    source = open_source(file)
    if source.broken is not None:
        problem = f"has a byte that is not {source.encoding}; save it as UTF-8"
        raise CorpusError(file, source.broken, problem)
    chunk: list[str] = []
    size = 0
    for line in source.lines():
        chunk.append(line.replace("\r\n", "\n"))
        size += len(chunk[-1])
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _ids(codec: AnyCodec, lines: Sequence[str]) -> tuple[Array, Array]:
    """ids [tokens] and the line [tokens] that each belongs to."""
    flat, offsets = codec.encode_texts(lines)
    return flat.astype(np.int64), np.repeat(np.arange(len(lines)), np.diff(offsets))


def _pieces(file: int, lines: Sequence[str], before: int, done: int) -> list[int]:
    """The piece that each line belongs to, named by the file's number and the place, whatever the vocabulary."""
    starts = done - before + np.cumsum([0, *map(len, lines[:-1])])
    return [(file << 40) + start // _PIECE for start in starts.tolist()]


def _window_nats(model: GPT2LMHeadModel, ids: Array, window: int) -> Array:
    """[tokens] nats of each token; the first has none: nan. A window begins with the last token of the one before."""
    nats = np.full(len(ids), np.nan)
    starts = range(0, max(len(ids) - 1, 0), window - 1)
    at_once = max(1, _BUDGET // window)
    for first in range(0, len(starts), at_once):
        rows = [ids[start : start + window] for start in starts[first : first + at_once]]
        padded = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for row, each in enumerate(rows):
            padded[row, : len(each)] = each
        places = [np.arange(len(each) - 1) + row * padded.shape[1] for row, each in enumerate(rows)]
        labels = np.concatenate([each[1:] for each in rows])
        flat = torch.from_numpy(np.concatenate(places))
        batch = Batch(torch.from_numpy(padded), flat, torch.from_numpy(labels), len(labels))
        begin = starts[first] + 1
        nats[begin : begin + len(labels)] = batch_nats(model, batch)
    return nats


def _add(
    sums: dict[int, list[float]], keys: list[int], owner: Array, nats: Array, lines: Sequence[str]
) -> None:
    known = ~np.isnan(nats)
    per_line = np.bincount(owner[known], nats[known], len(lines))
    counts = np.bincount(owner[known], minlength=len(lines))
    for key, line, total, count in zip(keys, lines, per_line.tolist(), counts.tolist(), strict=True):
        row = sums.setdefault(key, [0.0, 0.0, 0.0])
        row[0] += total
        row[1] += count
        row[2] += len(line)
