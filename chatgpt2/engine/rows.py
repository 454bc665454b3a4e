"""Which ids a converted model has, and how it numbers them.

Ids that neither prompts nor replies hold are left out of it: a third of bert-base-chinese's are Chinese characters
inside a word, and no text gives those. Their rows would be read at every step, and their logits computed for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path

from chatgpt2.engine.kept import DONE
from chatgpt2.errors import EngineError, PromptError

Ranges = list[tuple[int, int]]  # from the first to before the second


def kept_ranges(left_out: Iterable[int], vocabulary: int) -> Ranges:
    """What is left of `vocabulary` ids."""
    gaps = sorted({i for i in left_out if 0 <= i < vocabulary})
    return [(a + 1, b) for a, b in pairwise((-1, *gaps, vocabulary)) if a + 1 < b]


class Rows:
    """A model's ids and its rows, of which an id that was left out has none."""

    def __init__(self, kept: Ranges) -> None:
        self._ids = list(chain.from_iterable(range(*each) for each in kept))
        self._rows = {token: row for row, token in enumerate(self._ids)}

    @classmethod
    def of(cls, files: Path) -> Rows:
        """Those of an export. Raises EngineError when it does not say."""
        try:
            said = json.loads((files / DONE).read_text(encoding="utf-8"))
            return cls([(int(a), int(b)) for a, b in said["kept"]])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise EngineError(
                f"OpenVINO cannot load {files}: delete that folder, or take --engine pytorch ({DONE}: {error})"
            ) from error

    def of_prompt(self, prompt: Sequence[int]) -> list[int]:
        """Raises PromptError when it holds an id that was left out."""
        try:
            return [self._rows[token] for token in prompt]
        except KeyError as error:
            raise PromptError(
                f"id {error.args[0]} of the prompt stands for nothing that a text can hold, and the converted model "
                "has no row for it: take ids that the model's tokenizer gives"
            ) from None

    def of_stops(self, stop_ids: Iterable[int]) -> tuple[int, ...]:
        """Without those that were left out or are no ids of the model: they never come."""
        return tuple(self._rows[token] for token in stop_ids if token in self._rows)

    def ids(self, rows: Iterable[int]) -> list[int]:
        """What the rows stand for."""
        return [self._ids[row] for row in rows]
