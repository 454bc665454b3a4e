"""An evaluation for people: a Markdown card inside the checkpoint, and a picture beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chatgpt2.assessment.picture import draw
from chatgpt2.assessment.result import NAMES, Evaluation
from chatgpt2.card import write_section
from chatgpt2.errors import CheckpointError
from chatgpt2.evaluation import Figure

CARD, PICTURE = "README.md", "evaluation.png"
# What the Hugging Face hub reads from a model card.
_FRONT = "---\n{language}library_name: transformers\npipeline_tag: text-generation\n---\n\n"


def write_card(directory: Path, evaluation: Evaluation) -> Path:
    """Write the evaluation into README.md of a checkpoint, and the picture beside it.

    What others wrote in that file stays: only the part between two marks is replaced, or added at the end. Raises
    CheckpointError when the files cannot be written.
    """
    path = directory / CARD
    try:
        write_section(path, "chatgpt2 evaluate", markdown(evaluation), _beginning(directory, evaluation))
        draw(evaluation, directory / PICTURE)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be written ({error}): leave the card out with --no-card"
        ) from error
    return path


def _beginning(directory: Path, evaluation: Evaluation) -> str:
    """Of a card that is not there yet. Dialogues are Chinese; a text may be anything."""
    language = "language: zh\n" if evaluation.data.kind == "dialogues" else ""
    return f"{_FRONT.format(language=language)}# {directory.resolve().name}\n"


def markdown(evaluation: Evaluation) -> str:
    """The figures, what they were taken from, and some replies."""
    return "\n".join((*_about(evaluation), *_table(evaluation), *_talk(evaluation), ""))


def _about(evaluation: Evaluation) -> Iterator[str]:
    data = evaluation.data
    yield "## Evaluation"
    yield ""
    names = ", ".join(f"`{Path(path).name}`" for path in data.paths)
    yield (
        f"On {data.items:,} {data.kind} ({data.tokens:,} tokens, {data.characters:,} characters) of {names} that the "
        f"model should not have learned from. {data.unknown:.2%} of the tokens are unknown to its vocabulary of "
        f"{evaluation.entries:,}. In brackets: 95 % intervals."
    )
    yield ""


def _table(evaluation: Evaluation) -> Iterator[str]:
    yield "| | model | people |" if evaluation.people else "| | model |"
    yield "|---|---|---|" if evaluation.people else "|---|---|"
    for name, figure in evaluation.figures.items():
        row = [NAMES[name][0], shown(name, figure)]
        if evaluation.people:
            row.append(shown(name, evaluation.people[name]) if name in evaluation.people else "")
        yield f"| {' | '.join(row)} |"
    yield ""
    if evaluation.figures:
        yield f"![Figures]({PICTURE})"
        yield ""


def _talk(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.said:
        return
    sampling = ", ".join(f"{key} {value}" for key, value in evaluation.settings["sampling"].items())
    yield f"Replies to {evaluation.settings['replies']:,} prompts ({sampling}), among them:"
    yield ""
    yield "| user | model | people |"
    yield "|---|---|---|"
    for said in evaluation.said:
        yield f"| {' | '.join(map(_cell, (said.prompt, said.reply, said.reference)))} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def shown(name: str, figure: Figure) -> str:
    """A figure and its interval as people read them."""
    style = NAMES[name][1]
    text = style.format(figure.value)
    if figure.low is None or figure.high is None:
        return text
    return f"{text} [{style.format(figure.low)}, {style.format(figure.high)}]"
