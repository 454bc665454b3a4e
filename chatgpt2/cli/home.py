"""Where things live on this machine: the data folder, its database, the latest model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import platformdirs

from chatgpt2.errors import ConfigError


def data_folder() -> Path:
    """The user's data folder, made if absent: CHATGPT2_HOME, else the platform's usual place."""
    folder = Path(os.environ.get("CHATGPT2_HOME") or platformdirs.user_data_path("chatgpt2")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the data folder {folder} ({error.strerror}): set CHATGPT2_HOME to a folder you can write"
        ) from error
    return folder


def default_database_url() -> str:
    """SQLAlchemy's address of the session database in the data folder."""
    return f"sqlite+aiosqlite:///{(data_folder() / 'chatgpt2.db').as_posix()}"


def note_latest(model: Path) -> None:
    """Remember `model` as the one that `chat` takes when it is not told."""
    note = data_folder() / "latest.json"
    fresh = note.with_suffix(".tmp")
    fresh.write_text(json.dumps({"model": str(model.resolve())}, ensure_ascii=False), encoding="utf-8")
    fresh.replace(note)


def latest_model() -> Path | None:
    """The model directory noted last, or None; it may have been moved or deleted since."""
    try:
        noted = json.loads((data_folder() / "latest.json").read_text(encoding="utf-8"))
        return Path(noted["model"])
    except (FileNotFoundError, KeyError, ValueError, TypeError):
        return None
