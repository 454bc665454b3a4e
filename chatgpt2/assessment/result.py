"""What an evaluation found, as values and as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from chatgpt2.assessment.likelihood import Losses
from chatgpt2.evaluation import Figure, perplexity, ratio

# What each figure is called on screen and in the card, and how it is written there.
NAMES = {
    "loss": ("loss per token", "{:.4f}"),
    "perplexity": ("perplexity per token", "{:.2f}"),
    "perplexity_per_character": ("perplexity per character", "{:.2f}"),
    "distinct_1": ("distinct-1", "{:.3f}"),
    "distinct_2": ("distinct-2", "{:.3f}"),
    "entropy_4": ("entropy-4", "{:.2f}"),
    "repetition": ("replies that repeat", "{:.1%}"),
    "length": ("characters a reply", "{:.1f}"),
    "dull": ("dull replies", "{:.1%}"),
    "echo": ("echo of the user", "{:.1%}"),
    "bleu_2": ("BLEU-2", "{:.2f}"),
    "bleu_4": ("BLEU-4", "{:.2f}"),
}


@dataclass(frozen=True, slots=True)
class Data:
    """What was evaluated on, as this model's tokenizer reads it."""

    paths: tuple[str, ...]
    kind: str
    items: int  # different dialogues or texts
    tokens: int  # labelled
    characters: int
    unknown: float  # share of tokens that are [UNK]: what a vocabulary lacks is easy to predict


@dataclass(frozen=True, slots=True)
class Said:
    """One prompt with the model's reply and what people answered."""

    prompt: str
    reply: str
    reference: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good one model is on held-out text. Figures by their names in `NAMES`."""

    model: str
    parameters: int
    entries: int
    data: Data
    held_out: dict[str, Figure]
    replies: dict[str, Figure] = field(default_factory=dict)
    people: dict[str, Figure] = field(default_factory=dict)
    said: tuple[Said, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    losses: Losses | None = field(default=None, repr=False, compare=False)

    @property
    def figures(self) -> dict[str, Figure]:
        """Of the text and of the replies."""
        return self.held_out | self.replies

    def as_object(self) -> dict[str, Any]:
        """For JSON; numbers that JSON has no word for become null."""
        raw = {key: value for key, value in self._plain().items() if key != "losses"}
        return _finite(raw)  # type: ignore[no-any-return]

    def _plain(self) -> dict[str, Any]:
        names = ("model", "parameters", "entries", "settings")
        plain: dict[str, Any] = {name: getattr(self, name) for name in names}
        plain["data"] = asdict(self.data)
        for name in ("held_out", "replies", "people"):
            plain[name] = {key: asdict(figure) for key, figure in getattr(self, name).items()}
        plain["said"] = [asdict(each) for each in self.said]
        return plain


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def held_out_figures(found: Losses, seed: int = 0) -> dict[str, Figure]:
    """Loss and perplexities with their intervals."""
    return {
        "loss": ratio(found.nll, found.tokens, seed=seed),
        "perplexity": ratio(found.nll, found.tokens, perplexity, seed=seed),
        "perplexity_per_character": ratio(found.nll, found.characters, perplexity, seed=seed),
    }


def compare(one: Evaluation, other: Evaluation, seed: int = 0) -> Figure | None:
    """How many times as large `other`'s perplexity per character is, with its interval over the same dialogues.

    None when the two did not read the same. Surer than comparing two intervals, for what is hard is hard for both.
    """
    a, b = one.losses, other.losses
    if a is None or b is None or not np.array_equal(a.keys, b.keys):
        return None
    return ratio(b.nll - a.nll, a.characters, perplexity, seed=seed)
