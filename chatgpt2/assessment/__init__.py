"""Evaluating a model on text that it has not learned from."""

from chatgpt2.assessment.card import write_card
from chatgpt2.assessment.evaluating import Options, Watcher, evaluate
from chatgpt2.assessment.kind import Kind, kind_for
from chatgpt2.assessment.picture import draw, plotted
from chatgpt2.assessment.result import NAMES, Data, Evaluation, Said, compare

__all__ = [
    "NAMES",
    "Data",
    "Evaluation",
    "Kind",
    "Options",
    "Said",
    "Watcher",
    "compare",
    "draw",
    "evaluate",
    "kind_for",
    "plotted",
    "write_card",
]
