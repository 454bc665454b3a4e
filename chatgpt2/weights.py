"""The weights of a model directory: read whole, checked, in fp32."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedModel

from chatgpt2.errors import CheckpointError
from chatgpt2.quiet import quiet_transformers

CLASSIFIER = "GPT2ForSequenceClassification"
# What transformers, peft, torch and safetensors raise at files that are damaged or not what they seem.
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, UnpicklingError)


M = TypeVar("M", bound=PreTrainedModel)


def read_config(directory: Path) -> Any:
    """The config.json of a GPT-2 that has weights beside it. Raises CheckpointError."""
    if not (directory / "config.json").exists():
        raise CheckpointError(f"{directory} is not a model directory: it has no config.json")
    if not any(directory.glob("*.safetensors")) and not any(directory.glob("pytorch_model*.bin")):
        raise CheckpointError(f"{directory} has no weights (model.safetensors or pytorch_model.bin)")
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(directory)
    except UNREADABLE as error:
        raise CheckpointError(f"{directory} cannot be loaded as a GPT-2: {reason(error)}") from error
    if config.model_type != "gpt2":
        raise CheckpointError(f"{directory} holds a {config.model_type} model: a GPT-2 is needed")
    _repair_config_ids(config)
    return config


def read_model(directory: Path, kind: type[M], config: Any) -> M:
    """The model of a directory as a `kind`. Raises CheckpointError when it is damaged or lacks weights."""
    try:
        with quiet_transformers():
            loaded: Any = kind.from_pretrained(
                directory, config=config, dtype=torch.float32, output_loading_info=True
            )
    except UNREADABLE as error:
        raise CheckpointError(f"{directory} cannot be loaded as a GPT-2: {reason(error)}") from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        # transformers would fill them with random numbers and talk nonsense.
        raise CheckpointError(f"{directory} lacks {len(missing)} weights ({missing[0]} …): copy it again")
    assert isinstance(model, kind)
    return model


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _repair_config_ids(config: Any) -> None:
    """Ids outside the vocabulary (GPT2-chitchat keeps 50256 of the English GPT-2) break generation."""
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(config, key, None)
        if isinstance(value, int) and not 0 <= value < config.vocab_size:
            setattr(config, key, None)
