"""Cutting the language-model head or the backbone off, putting parts together again, merging an adapter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2LMHeadModel

from chatgpt2.checkpoint import AnyCheckpoint, is_adapter, load_any, save_checkpoint
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.surgery.place import fresh_file, fresh_folder
from chatgpt2.vocabulary import vocabulary_hash

PARTS = {"lm-head": "lm_head.", "backbone": "transformer."}
_HEAD, _TOKENS = "lm_head.weight", "transformer.wte.weight"


@dataclass(frozen=True, slots=True)
class Cut:
    """What went into the file of a part. `tied`: its token matrix is shared with the other part, and copied."""

    tensors: int
    parameters: int
    tied: bool


@dataclass(frozen=True, slots=True)
class Merged:
    """The whole model that an adapter and its base made. `objective`: dialogue or text."""

    parameters: int
    objective: str


def split(source: str | Path, part: str, out: str | Path, *, force: bool = False) -> Cut:
    """Write one part of a model to a safetensors file, under the names that GPT2LMHeadModel gives its tensors.

    part  lm-head or backbone

    Raises CheckpointError or ConfigError.
    """
    out = Path(out)
    if part not in PARTS:
        raise ConfigError(f"--part {part}: choose one of {', '.join(PARTS)}")
    if out.suffix != ".safetensors":
        raise ConfigError(
            f"--out {out}: the file is in the safetensors format, so end its name in .safetensors"
        )
    found = load_any(source)
    state = found.model.state_dict()
    # A tied matrix has two names and one memory, which safetensors refuses: each file gets a copy.
    tensors = {
        name: each.clone().contiguous() for name, each in state.items() if name.startswith(PARTS[part])
    }
    about = {
        "format": "pt",
        "part": part,
        "tied": json.dumps(is_tied(found.model)),
        "vocabulary_hash": vocabulary_hash(found.codec.vocabulary),
        "config": json.dumps(found.model.config.to_diff_dict(), default=str),
    }
    with fresh_file(out, force=force) as draft:
        save_file(tensors, draft, about)
    return Cut(len(tensors), sum(each.numel() for each in tensors.values()), is_tied(found.model))


def is_tied(model: GPT2LMHeadModel) -> bool:
    """Whether head and token embedding are one matrix."""
    return model.lm_head.weight is model.transformer.wte.weight


def join(
    source: str | Path,
    files: Sequence[str | Path],
    out: str | Path,
    *,
    tie: bool | None = None,
    force: bool = False,
) -> bool:
    """Put the parts in `files` into the model at `source`, written to `out`; whether the result is tied.

    tie  True: head and embedding become one matrix again, which they must equal; False: each keeps its own; None: one
         where they are equal and were one before, else two

    Raises CheckpointError when a part does not fit, ConfigError when tying would lose numbers.
    """
    found = load_any(source)
    tied = is_tied(found.model)
    state = dict(found.model.state_dict())
    given: set[str] = set()
    for file in map(Path, files):
        tensors = _read(file, found)
        _check_shapes(file, tensors, state)
        state |= tensors
        given |= tensors.keys()
    if tied and _HEAD not in given:
        state[_HEAD] = state[_TOKENS]
    equal = torch.equal(state[_HEAD], state[_TOKENS])
    if tie and not equal:
        apart = float((state[_HEAD] - state[_TOKENS]).abs().max())
        raise ConfigError(
            f"--tie: head and token embedding differ by up to {apart:.3g}, and one of them would be lost: leave "
            "--tie out, and each keeps its own"
        )
    together = equal and (tied if tie is None else tie)
    model = _with_state(found.model, state, together)
    card = replace(found.card, metrics={}) if given else found.card
    with fresh_folder(Path(out), force=force, source=found.path) as draft:
        save_checkpoint(draft, model, found.codec, card)
    return together


def merge(source: str | Path, out: str | Path, *, force: bool = False) -> Merged:
    """Merge the LoRA adapter in the directory `source` into its base; `out` is a plain model that needs neither.

    Raises CheckpointError when `source` is no adapter or its base is not there, ConfigError when `out` is in the way.
    """
    source = Path(source)
    if source.is_dir() and not is_adapter(source):
        raise CheckpointError(f"{source} is no LoRA adapter (no adapter_config.json): nothing to merge")
    with fresh_folder(Path(out), force=force, source=source) as draft:
        found = load_any(source)
        save_checkpoint(draft, found.model, found.codec, found.card)
    return Merged(found.model.num_parameters(), found.card.objective)


def _read(file: Path, found: AnyCheckpoint) -> dict[str, Tensor]:
    cut = "cut it with `chatgpt2 model split`"
    try:
        with safe_open(file, "pt") as opened:
            about = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read as safetensors ({error}): {cut}") from error
    if not tensors:
        raise CheckpointError(f"{file} holds no tensors: {cut}")
    hashed = about.get("vocabulary_hash")
    if hashed and hashed != vocabulary_hash(found.codec.vocabulary):
        raise CheckpointError(f"{file} was cut from a model with another vocabulary than {found.path} has")
    return tensors


def _check_shapes(file: Path, tensors: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    for name, each in tensors.items():
        if name not in state:
            raise CheckpointError(f"{file} holds {name}, which this GPT-2 does not have")
        if each.shape != state[name].shape:
            shapes = f"{list(each.shape)}, in the model {list(state[name].shape)}"
            raise CheckpointError(f"{file}: {name} is {shapes}: they are of different sizes")


def _with_state(model: GPT2LMHeadModel, state: dict[str, Tensor], tied: bool) -> GPT2LMHeadModel:
    config = model.config.__class__.from_dict(model.config.to_dict())
    config.tie_word_embeddings = tied
    fresh = GPT2LMHeadModel(config)
    fresh.load_state_dict(state)
    fresh.generation_config = model.generation_config
    fresh.train(False)
    return fresh
