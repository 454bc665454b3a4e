"""The design as a test: who may import whom, one door per library, small files and functions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the bottom up. A row imports rows below it; within a row only what is named in SIDEWAYS.
LAYERS = (
    ("errors",),
    ("card", "device", "dialogue", "hub", "interrupt", "quiet", "spelling", "vocabulary", "wordpiece"),
    ("examples",),
    ("codec", "tokenizer"),
    ("textcodec", "tokenfile"),
    ("corpus", "anycodec", "weights"),
    ("tokens", "checkpoint"),
    ("batches", "heads"),
    ("material",),
    ("engine", "store"),
    ("evaluation",),
    ("training",),
    ("serving",),
    ("chat", "generating", "loading", "adapter"),
    ("commands", "assessment", "classifying", "surgery", "writing"),
    ("gateway",),
    ("server",),
    ("testing",),
    ("cli",),
    ("api",),
    ("__main__",),
)
SIDEWAYS = {("cli", "bots")}
# Narrower than the rows: text lives above the codec, token ids below it; a bot sees neither.
ONLY = {
    "engine": {"errors"},
    "store": {"dialogue", "errors"},
    "evaluation": {"codec", "dialogue", "engine", "errors"},
    "adapter": {"errors"},
    "serving": {"dialogue", "engine", "errors"},
    "generating": {"engine", "errors", "serving"},
    "chat": {"dialogue", "engine", "errors", "interrupt", "serving", "store"},
    "bots": {"adapter"},
    "migrations": {"store"},
    "data": set[str](),
}

# Who may use a library. What is not named here is used nowhere (the standard library aside).
DOORS = {
    "accelerate": {"training"},
    "ahocorasick": {"chat"},
    "alembic": {"store", "migrations"},
    "click": {"cli"},
    "cryptography": {"bots"},
    "datasets": {"corpus"},
    "defusedxml": {"bots"},
    "fastapi": {"server"},
    "httpx": {"adapter", "bots", "engine", "gateway", "testing"},
    "huggingface_hub": {"hub"},
    "matplotlib": {"training", "assessment"},
    "numpy": {
        "vocabulary",
        "wordpiece",
        "codec",
        "textcodec",
        "corpus",
        "tokens",
        "tokenfile",
        "batches",
        "material",
        "engine",
        "training",
        "evaluation",
        "assessment",
    },
    "modelscope": {"hub"},
    "nncf": {"engine"},
    "openvino": {"engine"},
    "openvino_genai": {"engine"},
    "openvino_tokenizers": {"engine"},
    "peft": {"checkpoint"},
    "platformdirs": {"cli"},
    "prompt_toolkit": {"bots"},
    "psutil": {"tokenfile", "engine", "store", "training", "cli"},
    "sacrebleu": {"evaluation"},
    "safetensors": {"checkpoint", "surgery", "weights"},
    "regex": {"gateway", "spelling", "vocabulary", "wordpiece"},
    "rich": {"cli", "engine"},
    "prometheus_client": {"server"},
    "pydantic": {"server"},
    "pydantic_core": {"server"},
    "segno": {"cli", "server"},
    "sqlalchemy": {"store", "migrations"},
    "starlette": {"server"},
    "telegram": {"bots"},
    "tokenizers": {"textcodec", "tokenizer", "wordpiece"},
    "torch": {
        "device",
        "checkpoint",
        "batches",
        "material",
        "classifying",
        "engine",
        "heads",
        "loading",
        "training",
        "weights",
        "assessment",
        "surgery",
        "cli",
    },
    "transformers": {
        "codec",
        "quiet",
        "textcodec",
        "tokenizer",
        "checkpoint",
        "engine",
        "heads",
        "training",
        "weights",
        "assessment",
        "surgery",
        "cli",
    },
    "typing_extensions": {"checkpoint"},
    "uvicorn": {"server"},
    "websockets": {"bots"},
}

LONGEST_FILE, LONGEST_FUNCTION = 300, 40
# Guarded: nothing may be added, and what has become short enough must leave.
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()


def _sources() -> dict[str, Path]:
    """Every module of the package by the name it is imported under."""
    homes = {"chatgpt2": "chatgpt2", "chatgpt2.bots": "bots", "chatgpt2.migrations": "migrations"}
    found = {}
    for package, folder in homes.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


SOURCES = _sources()
NAMES = sorted(SOURCES.keys() - {"chatgpt2"})


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse(SOURCES[name].read_text(encoding="utf-8"))


def _imports(name: str) -> Iterator[str]:
    """What a module imports, wherever in it; `from package import module` names the module."""
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are written in full"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((module if module in SOURCES else str(node.module)) for module in full)


def _unit(name: str) -> str:
    """The part of the package that a module belongs to: chatgpt2.engine.base → engine.
    The kit for adapters' tests drives a whole gateway, so it stands above it."""
    return "testing" if name.startswith("chatgpt2.adapter.testing") else name.split(".")[1]


def _row(unit: str) -> int:
    return next(row for row, units in enumerate(LAYERS) if unit in units)


def _allowed(unit: str) -> set[str]:
    if unit in ONLY:
        return ONLY[unit] | {unit}
    below = {each for row in LAYERS[: _row(unit)] for each in row}
    return below | {unit, "data"} | {other for one, other in SIDEWAYS if one == unit}


def test_every_module_has_a_place_in_the_layers() -> None:
    placed = {unit for row in LAYERS for unit in row} | ONLY.keys()
    assert {_unit(name) for name in NAMES} <= placed


@pytest.mark.parametrize("name", NAMES)
def test_a_module_imports_only_rows_below_its_own(name: str) -> None:
    ours = [other for other in _imports(name) if other.startswith("chatgpt2.")]
    wrong = [other for other in ours if _unit(other) not in _allowed(_unit(name))]
    assert not wrong, f"{name} may not import {wrong}"


@pytest.mark.parametrize("name", NAMES)
def test_a_library_is_used_behind_its_door_only(name: str) -> None:
    libraries = {other.split(".")[0] for other in _imports(name)} - {"chatgpt2"} - sys.stdlib_module_names
    wrong = [library for library in libraries if _unit(name) not in DOORS.get(library, ())]
    assert not wrong, f"{name} may not use {wrong}"


def test_files_stay_short() -> None:
    long = {
        name for name, path in SOURCES.items() if len(path.read_text("utf-8").splitlines()) > LONGEST_FILE
    }
    assert long == LONG_FILES


def test_functions_stay_short() -> None:
    """Bodies only: a command's list of options is as long as it has to be."""
    long = {
        f"{name}.{node.name}"
        for name in SOURCES
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.body[-1].end_lineno or 0) - node.body[0].lineno >= LONGEST_FUNCTION
    }
    assert long == LONG_FUNCTIONS
