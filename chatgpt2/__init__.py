"""From a Chinese dialogue corpus to a bot that talks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatgpt2.api import evaluate as evaluate
    from chatgpt2.api import train_classifier as train_classifier
    from chatgpt2.api import train_dialog as train_dialog
    from chatgpt2.api import train_text as train_text
    from chatgpt2.assessment import compare as compare
    from chatgpt2.checkpoint import load_any as load_any
    from chatgpt2.classifying import classify as classify
    from chatgpt2.engine.base import EngineOptions as EngineOptions
    from chatgpt2.errors import ChatGPT2Error as ChatGPT2Error
    from chatgpt2.heads import ValueModel as ValueModel
    from chatgpt2.surgery import convert as convert
    from chatgpt2.surgery import describe as describe
    from chatgpt2.surgery import export as export
    from chatgpt2.surgery import join as join
    from chatgpt2.surgery import merge as merge
    from chatgpt2.surgery import resize_vocabulary as resize_vocabulary
    from chatgpt2.surgery import split as split
    from chatgpt2.writing import generate as generate

__version__ = "0.1.0"

# What `from chatgpt2 import …` gives, and where it comes from: imported when asked for, since torch takes seconds.
_NAMES = {
    "ChatGPT2Error": "errors",
    "EngineOptions": "engine.base",
    "ValueModel": "heads",
    "classify": "classifying",
    "compare": "assessment",
    "convert": "surgery",
    "describe": "surgery",
    "evaluate": "api",
    "export": "surgery",
    "generate": "writing",
    "join": "surgery",
    "load_any": "checkpoint",
    "merge": "surgery",
    "resize_vocabulary": "surgery",
    "split": "surgery",
    "train_classifier": "api",
    "train_dialog": "api",
    "train_text": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"chatgpt2.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
