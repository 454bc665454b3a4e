"""Where results go: written beside their place and moved there whole; nothing is overwritten unasked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatgpt2.errors import ConfigError

_MODEL = ("config.json", "adapter_config.json", "openvino_model.xml")  # one of these makes a folder a model's


@contextmanager
def fresh_folder(out: Path, *, force: bool = False, source: Path | None = None) -> Iterator[Path]:
    """A draft that becomes the folder `out` when all went well, and vanishes when not.

    Raises ConfigError when `out` is in the way: a file, `source` itself, a folder that holds something. With `force`
    a model there is replaced, but nothing else.
    """
    _check_folder(out, force, source)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written ({error.strerror}): choose another") from error
    try:
        draft.chmod(0o755)
        yield draft
        if out.exists():
            out.rename(draft.with_name(f"{draft.name}-old"))
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(draft.with_name(f"{draft.name}-old"), ignore_errors=True)


def _check_folder(out: Path, force: bool, source: Path | None) -> None:
    if source is not None and out.exists() and out.resolve() == source.resolve():
        raise ConfigError(f"--out {out} is the model itself: choose another folder")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out} is a file: choose another place for the folder")
    if not force:
        raise ConfigError(f"--out {out} is not an empty folder: choose another, or overwrite with --force")
    if not any((out / name).exists() for name in _MODEL):
        raise ConfigError(
            f"--out {out} holds something else than a model: --force leaves that alone, choose another"
        )


@contextmanager
def fresh_file(out: Path, *, force: bool = False) -> Iterator[Path]:
    """The same for a file."""
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name a file in it")
    if out.exists() and not force:
        raise ConfigError(f"--out {out} is there already: choose another file, or overwrite with --force")
    draft = out.with_name(f".{out.name}-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(out)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written ({error.strerror}): choose another") from error
    finally:
        draft.unlink(missing_ok=True)
