"""An evaluation as a picture: how loss spreads over the dialogues, and the replies beside people's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chatgpt2.assessment.result import NAMES, Evaluation
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import Figure

_SHARES = ("distinct_1", "distinct_2", "repetition", "dull", "echo")


def plotted(path: Path, found: Evaluation, other: Evaluation | None = None) -> None:
    """Draw to a file that a user named. Raises ConfigError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(found, path, other)
    except OSError as error:
        raise ConfigError(f"--plot {path} cannot be written ({error.strerror}): give another file") from error


def draw(evaluation: Evaluation, path: Path, other: Evaluation | None = None) -> None:
    """Draw one evaluation, or two side by side, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    both = [each for each in (evaluation, other) if each is not None]
    replies = any(each.replies for each in both)
    canvas = Canvas(figsize=(11 if replies else 6, 4), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(1, 2 if replies else 1, squeeze=False)[0]
    _spread(axes[0], both)
    if replies:
        _bars(axes[1], both)
    # The format is named, for a draft's name need not end in .png.
    canvas.savefig(path, dpi=120, format="png")


def _spread(axes: Any, both: list[Evaluation]) -> None:
    """A histogram of each dialogue's loss per character."""
    for each in both:
        if each.losses is not None:
            known = each.losses.characters > 0
            per = each.losses.nll[known] / each.losses.characters[known]
            upper = float(np.percentile(per, 99)) if len(per) else 1.0
            axes.hist(per, bins=40, range=(0, max(upper, 1e-9)), histtype="step", label=_name(each))
    axes.set_xlabel("loss per character of a dialogue (nats)")
    axes.set_ylabel(both[0].data.kind)
    axes.grid(alpha=0.3)
    axes.legend()


def _bars(axes: Any, both: list[Evaluation]) -> None:
    rows: list[tuple[str, dict[str, Figure]]] = [(_name(each), each.replies) for each in both if each.replies]
    rows.append(("people", next(each.people for each in both if each.people)))
    height = 0.8 / len(rows)
    for row, (name, figures) in enumerate(rows):
        values = [figures[key].value for key in _SHARES]
        errors = np.array([_reach(figures[key]) for key in _SHARES]).T
        places = np.arange(len(_SHARES)) + (row - (len(rows) - 1) / 2) * height
        axes.barh(places, values, height, xerr=errors, label=name, error_kw={"linewidth": 1})
    axes.set_yticks(range(len(_SHARES)), [NAMES[key][0] for key in _SHARES])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3, axis="x")
    axes.legend()


def _reach(figure: Figure) -> tuple[float, float]:
    if figure.low is None or figure.high is None:
        return 0.0, 0.0
    return max(0.0, figure.value - figure.low), max(0.0, figure.high - figure.value)


def _name(evaluation: Evaluation) -> str:
    """Only what every font has."""
    name = Path(evaluation.model).name or evaluation.model
    return name if name.isascii() else name.encode("ascii", "replace").decode()
