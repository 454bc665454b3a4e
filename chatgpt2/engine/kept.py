"""Converted models on the disk: whole or not at all, and found again by the files they were made from.

Nothing here needs torch, so a model that was converted before is served without it: in a second instead of five.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil

FORMAT = 4  # raised when what is exported changes, so that old exports are made again
DONE = "export.json"


def origin(directory: Path, banned_ids: Sequence[int], left_out: Sequence[int] = ()) -> str | None:
    """The hash of everything that a conversion depends on: the files of a model, and what converts them.

    None where it is not a directory with a config and weights of its own (a LoRA adapter has another's).
    """
    weights = sorted((*directory.glob("*.safetensors"), *directory.glob("pytorch_model*.bin")))
    if not weights or (directory / "adapter_config.json").exists():
        return None
    facts = [FORMAT, version("openvino"), version("nncf"), sorted(set(banned_ids)), sorted(set(left_out))]
    digest = hashlib.sha256(json.dumps(facts).encode())
    try:
        for path in (directory / "config.json", *sorted(directory.glob("*.index.json")), *weights):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    except OSError:
        return None
    return digest.hexdigest()


def remember(folder: Path, weights: str, made_from: str, target: Path) -> None:
    """Note beside the exports that `target` is what these files become. Without the note it is only slower."""
    note = json.dumps({"made_from": made_from, "files": target.name})
    try:
        if (folder / f"{weights}.json").read_text(encoding="utf-8") == note:
            return
    except OSError:
        pass
    try:
        handle, draft = tempfile.mkstemp(prefix=f".draft-{os.getpid()}-", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(note)
        Path(draft).chmod(0o644)
        Path(draft).replace(folder / f"{weights}.json")
    except OSError:
        return


def remembered(folder: Path, weights: str, made_from: str | None) -> Path | None:
    """The export that these files have become before, if it is still there and whole."""
    try:
        note = json.loads((folder / f"{weights}.json").read_text(encoding="utf-8"))
        target = folder / note["files"]
        return target if note["made_from"] == made_from and whole(target) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def whole(target: Path) -> bool:
    """Whether every file is as long as it was when it was written."""
    try:
        sizes: dict[str, int] = json.loads((target / DONE).read_text(encoding="utf-8"))["sizes"]
        return all((target / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, AttributeError, TypeError):
        return False


def made_of(target: Path) -> str | None:
    """The hash of the weights that an export was made of. None when the export is gone."""
    try:
        found: str = json.loads((target / DONE).read_text(encoding="utf-8"))["made_of"]
        return found
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """An empty folder in `folder` that is gone afterwards, unless it was put in place."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    draft = Path(tempfile.mkdtemp(prefix=f".draft-{os.getpid()}-", dir=folder))
    try:
        draft.chmod(0o755)  # others may use what one has converted
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove the drafts of processes that were killed."""
    for draft in folder.glob(".draft-*-*"):
        owner = draft.name.split("-")[1]
        if owner.isdigit() and psutil.pid_exists(int(owner)):
            continue
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def put_in_place(draft: Path, target: Path) -> None:
    """One rename makes the files appear whole. Another process may have been faster with the same files."""
    if target.exists() and not whole(target):
        shutil.rmtree(target)
    try:
        draft.replace(target)
    except OSError:
        if not whole(target):
            raise


def tidy(folder: Path, target: Path) -> None:
    """Remove what earlier weights left in the same precision, but for the latest: it may still be served."""
    precision = target.name.split("-")[0]
    others = [each for each in folder.glob(f"{precision}-*") if each != target]
    for other in sorted(others, key=_made)[:-1]:
        shutil.rmtree(other, ignore_errors=True)


def _made(target: Path) -> float:
    try:
        return target.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0
