"""Evaluating a model on text that it has not learned from."""

from chatgpt2.assessment.evaluating import Options, Watcher, evaluate
from chatgpt2.assessment.kind import Kind, kind_for
from chatgpt2.assessment.result import NAMES, Data, Evaluation, Said, paired

__all__ = [
    "NAMES",
    "Data",
    "Evaluation",
    "Kind",
    "Options",
    "Said",
    "Watcher",
    "evaluate",
    "kind_for",
    "paired",
]
