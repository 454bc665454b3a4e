"""chatgpt2 from Python: the commands as functions, for notebooks and programs.

    from chatgpt2 import train_text

    result = train_text("novel.txt", out="models/novel", tokenizer="char", minutes=5)
    print(result.held_out.perplexity_per_character)

Options are the fields of `TextOptions`, `TrainOptions` and `ClassifierOptions`, which are the commands' own. With
`resume` a run goes on in `out`: what it began with need not be given again, and may not be another. What a user can
put right raises ChatGPT2Error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from chatgpt2.assessment import Evaluation, Options, plotted, write_card
from chatgpt2.assessment import evaluate as measure
from chatgpt2.cli.home import data_folder
from chatgpt2.cli.progress import Screen
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import HeldOut
from chatgpt2.training import classifier, dialogue, text
from chatgpt2.training.learn import Result
from chatgpt2.training.options import ClassifierOptions, RunOptions, TextOptions, TrainOptions
from chatgpt2.training.run import resumed_options, with_whole_paths

R = TypeVar("R", bound=RunOptions)


def train_text(
    *paths: Path | str, out: Path | str, resume: bool = False, quiet: bool = False, **options: Any
) -> Result[HeldOut]:
    """`chatgpt2 train-text`: train on the texts in `paths` and write the model to `out`."""
    settings = _settings(TextOptions, "paths", paths, out, resume, options)
    return text.train_text(settings, *_surroundings(settings, quiet), resume=resume)


def train_classifier(
    *paths: Path | str, out: Path | str, resume: bool = False, quiet: bool = False, **options: Any
) -> Result[Any]:
    """`chatgpt2 train-classifier`: teach a model to judge the labelled texts in `paths`, and write it to `out`.

    The figures are Judged (`accuracy`, `f1`, `confusion`), Fitted (`mae`, `r2`), or with head="lm" those of a text.
    """
    settings = _settings(ClassifierOptions, "paths", paths, out, resume, options)
    return classifier.train_classifier(settings, *_surroundings(settings, quiet), resume=resume)


def train_dialog(
    *corpus: Path | str, out: Path | str, resume: bool = False, quiet: bool = False, **options: Any
) -> Result[HeldOut]:
    """`chatgpt2 train-dialog`: train on the dialogues in `corpus` and write the model to `out`."""
    settings = _settings(TrainOptions, "corpus", corpus, out, resume, options)
    return dialogue.train_dialog(settings, *_surroundings(settings, quiet), resume=resume)


def evaluate(
    model: Path | str, *paths: Path | str, card: bool = False, plot: Path | str | None = None, **options: Any
) -> Evaluation:
    """`chatgpt2 evaluate`: how good `model` (a directory or hub name) is on dialogues or texts that it has not seen.

    card     write the figures into README.md of the model's directory, with a picture
    plot     draw them there (PNG)
    options  fields of `assessment.Options`: kind, replies, field, clean, seed, sampling, engine …

    `compare` tells two of these apart, `draw` from chatgpt2.assessment draws two side by side.
    """
    given, files = Path(model).expanduser(), _paths(paths)
    if card and not given.is_dir():
        raise ConfigError(f"card: {model} is no directory of yours, so no card can be written into it")
    try:
        settings = Options(**options)
    except TypeError as error:
        raise ConfigError(f"evaluate: {error}") from error
    found = measure(model, files, settings, cache=data_folder())
    if plot is not None:
        plotted(Path(plot), found)
    if card:
        write_card(given, found)
    return found


def _paths(given: tuple[Path | str, ...]) -> tuple[Path, ...]:
    if not given:
        raise ConfigError("name a file or a folder to read")
    return tuple(map(Path, given))


def _settings(
    kind: type[R],
    source: str,
    given: tuple[Path | str, ...],
    out: Path | str,
    resume: bool,
    values: dict[str, Any],
) -> R:
    """The options of a new run, or of the one in `out`, which must have begun with what is given here again."""
    options = {name: _tidy(name, value) for name, value in values.items()} | {"out": Path(out)}
    if given or not resume:
        options[source] = _paths(given)
    if resume:
        return resumed_options(kind, options)
    try:
        return with_whole_paths(kind(**options))
    except TypeError as error:
        raise ConfigError(f"{kind.command}: {error}") from error


def _tidy(name: str, value: Any) -> Any:
    """Lists, and texts where a path is meant, are welcome."""
    if name in ("base", "tokenizer") and isinstance(value, Path):
        return str(value)
    if name in ("validation", "test", "eval_corpus"):
        return tuple(map(Path, (value,) if isinstance(value, str | Path) else value))
    if name in ("split", "report_to") and value is not None:
        return tuple(value)
    return Path(value) if name == "vocabulary" and value is not None else value


def _surroundings(settings: RunOptions, quiet: bool) -> tuple[Path, Screen]:
    return data_folder() / "tokens", Screen(settings, "chatgpt2 model show", quiet=quiet)
