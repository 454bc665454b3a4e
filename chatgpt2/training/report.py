"""What a model that judges texts was found to be: a JSON object and a Markdown card inside its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from chatgpt2.card import write_section
from chatgpt2.errors import CheckpointError
from chatgpt2.evaluation import Fitted, Judged
from chatgpt2.training.learn import Result

REPORT = "classifier.json"
_MOST = 30  # classes whose confusion matrix the card shows
_FRONT = "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n\n"
_NAMES = {"accuracy": "accuracy", "f1": "F1, mean of the classes", "loss": "loss per text"}
_NUMBERS = {
    "mae": "mean absolute error",
    "r2": "R²",
    "correlation": "correlation",
    "loss": "mean squared error",
}


def write_report(result: Result[Any], about: dict[str, Any]) -> None:
    """Write classifier.json and a part of README.md into the checkpoint; `about` says what was trained.

    Raises CheckpointError when they cannot be written.
    """
    measured = {"held_out": result.held_out, "test": result.tested}
    found = {name: figures for name, figures in measured.items() if figures is not None}
    whole = {**about, **{name: as_object(figures) for name, figures in found.items()}}
    path = result.out / REPORT
    try:
        path.write_text(json.dumps(whole, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        beginning = f"{_FRONT}# {result.out.resolve().name}\n"
        text = "\n".join(_markdown(found, about)) + "\n"
        write_section(result.out / "README.md", "chatgpt2 train-classifier", text, beginning)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}, or README.md beside it, cannot be written ({error})") from error


def as_object(figures: Judged | Fitted) -> dict[str, Any]:
    """Figures for JSON; of classes with the confusion matrix, true classes down, answers across."""
    plain: dict[str, Any] = {**figures.metrics, "texts": figures.texts}
    if isinstance(figures, Judged):
        plain |= {"labels": figures.labels, "confusion": figures.confusion}
        plain["classes"] = [asdict(each) for each in figures.classes]
    return plain


def _markdown(found: dict[str, Judged | Fitted], about: dict[str, Any]) -> Iterator[str]:
    backbone = "a frozen backbone" if about["freeze_backbone"] else "the whole model"
    yield f"## {about['head'].capitalize()}"
    yield ""
    yield f"Learned by {backbone} from {about['texts']:,} texts; the base was {about['base'] or 'a new model'}."
    for name, figures in found.items():
        yield ""
        yield f"| {name.replace('_', ' ')} | {figures.texts:,} texts |"
        yield "|---|---|"
        names = _NAMES if isinstance(figures, Judged) else _NUMBERS
        yield from (f"| {title} | {figures.metrics[key]:.4f} |" for key, title in names.items())
        if isinstance(figures, Judged) and len(figures.labels) <= _MOST:
            yield from _matrix(figures)


def _matrix(figures: Judged) -> Iterator[str]:
    yield ""
    yield "True classes down, answers across:"
    yield ""
    labels = [label.replace("|", "\\|") for label in figures.labels]
    yield f"| | {' | '.join(labels)} |"
    yield "|---" * (len(labels) + 1) + "|"
    for label, row in zip(labels, figures.confusion, strict=True):
        yield f"| **{label}** | {' | '.join(f'{n:,}' for n in row)} |"
