"""The token file: examples as ids on disk, made once and read through memory maps.

A folder with one flat little-endian file per array and meta.json, which holds their sizes and checksums. It
is named by what went in (the corpus's bytes, the codec, the options), so the same input is never tokenised
twice, and it is moved into place whole: a reader sees all of it or nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from chatgpt2.errors import ConfigError
from chatgpt2.examples import Example, Examples

FORMAT = 1
META = "meta.json"
INDEX = {"offsets": "<i8", "dialogue": "<u8", "characters": "<i4", "learn": "?"}
BLOCK = 1 << 22  # bytes

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What went into a token file."""

    dialogues: int = 0
    turns: int = 0
    tokens: int = 0
    split: int = 0  # dialogues longer than the window, made into several examples
    cut: int = 0  # turns longer than the window alone, which lost their end
    unknown: int = 0  # [UNK] tokens
    bad: int = 0  # records passed over

    def __add__(self, other: Counts) -> Counts:
        mine, others = asdict(self), asdict(other)
        return Counts(**{name: mine[name] + others[name] for name in mine})


@dataclass(frozen=True, slots=True)
class TokenFile:
    """Examples on disk. The arrays are memory maps: what is not looked at takes no memory."""

    ids: Array  # [tokens] uint16 or uint32
    learn: Array  # [tokens] bool
    offsets: Array  # [examples + 1] int64, where each example begins
    dialogue: Array  # [examples] uint64, a hash of the dialogue it was cut from
    characters: Array  # [examples] int32, in the turns to be learned
    counts: Counts
    fingerprint: str

    def __len__(self) -> int:
        return len(self.dialogue)

    def example(self, index: int) -> Example:
        here = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return Example(self.ids[here].tolist(), self.learn[here].tolist())

    @property
    def lengths(self) -> Array:
        """[examples] in tokens."""
        return np.diff(self.offsets)


def open_tokens(folder: Path) -> TokenFile | None:
    """The token file in `folder`; None when there is none or it is damaged."""
    try:
        meta = json.loads((folder / META).read_bytes())
        arrays = {name: _open_array(folder / name, *meta["arrays"][name]) for name in ("ids", *INDEX)}
        return TokenFile(**arrays, counts=Counts(**meta["counts"]), fingerprint=meta["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _open_array(path: Path, dtype: str, size: int, checksum: int) -> Array:
    found = 0
    with path.open("rb") as file:  # and not through the map, whose pages would stay in memory
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
    array: Array = np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)  # nothing cannot be mapped
    if len(array) != size or found != checksum:
        raise ValueError(f"{path} is damaged")
    return array


class Writer:
    """Writes a token file's arrays into a folder, some examples at a time."""

    def __init__(self, folder: Path, entries: int) -> None:
        self.counts = Counts()
        self._folder = folder
        kinds = {"ids": "<u2" if entries <= 0x10000 else "<u4", **INDEX}
        self._arrays = {name: _Array(folder / name, kind) for name, kind in kinds.items()}
        self._arrays["offsets"].append(np.zeros(1, np.int64))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        for array in self._arrays.values():
            array.close()

    def add(self, examples: Examples, hashes: Array, counts: Counts) -> None:
        """Append `examples`; `hashes` names what each of them was cut from, by `examples.dialogue`."""
        self._arrays["ids"].append(examples.ids)
        self._arrays["learn"].append(examples.learn)
        self._arrays["offsets"].append(examples.offsets[1:] + self.counts.tokens)
        self._arrays["dialogue"].append(hashes[examples.dialogue])
        self._arrays["characters"].append(examples.characters)
        written = Counts(tokens=len(examples.ids), split=examples.split, cut=examples.cut)
        self.counts += counts + written

    def finish(self, fingerprint: str, bad: int = 0) -> None:
        """Write meta.json, without which the folder is no token file."""
        arrays = {name: array.described for name, array in self._arrays.items()}
        counts = asdict(self.counts + Counts(bad=bad))
        meta = {"fingerprint": fingerprint, "counts": counts, "arrays": arrays}
        with _telling(self._folder):
            (self._folder / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


class _Array:
    """A flat array that grows on disk."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._path, self._dtype = path, dtype
        self._size = self._sum = 0
        with _telling(path):
            self._file = path.open("wb")

    def append(self, values: Array) -> None:
        array = values.astype(self._dtype)
        self._size += len(array)
        self._sum = zlib.crc32(array.tobytes(), self._sum)
        with _telling(self._path):
            self._file.write(array.data)
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    @property
    def described(self) -> tuple[str, int, int]:
        return self._dtype, self._size, self._sum


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """A full disk or a forbidden folder is the user's to mend."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or error
        raise ConfigError(
            f"{path}: cannot be written ({problem}); free space or give another folder"
        ) from error


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place when all went well, and vanishes when not."""
    with _telling(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-{os.getpid()}-", dir=folder.parent))
    try:
        yield draft
        _settle(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _settle(draft: Path, folder: Path) -> None:
    try:
        draft.replace(folder)
    except OSError:  # a damaged one lies there, or another process was quicker
        if open_tokens(folder) is None:
            folder.replace(draft / "damaged")
            draft.replace(folder)
            shutil.rmtree(folder / "damaged", ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove the drafts of processes that were killed."""
    for draft in folder.parent.glob(f".{folder.name}-*-*"):
        if not psutil.pid_exists(int(draft.name.split("-")[-2])):
            shutil.rmtree(draft, ignore_errors=True)
