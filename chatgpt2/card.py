"""The card of a checkpoint, chatgpt2.json: what the model was trained on and how to talk to it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from chatgpt2.errors import CheckpointError

CARD = "chatgpt2.json"
FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself, kept in chatgpt2.json."""

    format: int = FORMAT
    vocabulary_hash: str = ""
    window: int = 512
    history: str = "drop-oldest-turns"
    learn: str = "all"
    objective: str = "dialogue"
    tokenizer: str = "bert"
    data_fingerprint: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    opening: tuple[str, ...] = ()

    @classmethod
    def read(cls, directory: Path) -> Card | None:
        """The card of a directory; None when it has none (a model from elsewhere)."""
        path = directory / CARD
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): restore it or delete it") from error
        if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
            raise CheckpointError(f"{path} is not a chatgpt2 card: restore it or delete it")
        if raw["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {raw['format']}, this chatgpt2 knows up to {FORMAT}: upgrade chatgpt2"
            )
        known = {f.name for f in fields(cls)}
        raw["opening"] = tuple(raw.get("opening") or ())
        return cls(**{key: value for key, value in raw.items() if key in known})

    def write(self, directory: Path) -> None:
        """Write the card into `directory`."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2)
        (directory / CARD).write_text(text + "\n", encoding="utf-8")


def write_section(path: Path, name: str, text: str, beginning: str) -> None:
    """Write `text` into a Markdown file between two marks that bear `name`, or replace what stands there.

    What others wrote in the file stays. `beginning` is for a file that is not there yet. Raises OSError, or
    UnicodeDecodeError when the file is no UTF-8 text.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    old = path.read_text(encoding="utf-8") if path.exists() else beginning
    before, mark, rest = old.partition(begin)
    after = rest.partition(end)[2].lstrip("\n") if mark else ""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.write_text(f"{before.rstrip()}\n\n{begin}\n{text}{end}\n{after}", encoding="utf-8")
    fresh.replace(path)
