"""A model directory: create, load, save; LoRA, freezing, the card.

A checkpoint is a plain Hugging Face directory, so every other tool loads it, plus `chatgpt2.json`, the card:
what the model was trained on and how to talk to it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from chatgpt2.codec import Codec
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.vocabulary import vocabulary_hash

CARD = "chatgpt2.json"
FORMAT = 1
SIZES = {"tiny": (4, 256), "small": (6, 384), "base": (12, 768)}
"""Layers and width; every head is 64 wide."""
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself, kept in chatgpt2.json."""

    format: int = FORMAT
    vocabulary_hash: str = ""
    window: int = 512
    history: str = "drop-oldest-turns"
    learn: str = "all"
    data_fingerprint: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    opening: tuple[str, ...] = ()

    @classmethod
    def read(cls, directory: Path) -> Card | None:
        """The card of a directory; None when it has none (a model from elsewhere)."""
        path = directory / CARD
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}): restore it or delete it") from error
        if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
            raise CheckpointError(f"{path} is not a chatgpt2 card: restore it or delete it")
        if raw["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {raw['format']}, this chatgpt2 knows up to {FORMAT}: upgrade chatgpt2"
            )
        known = {f.name for f in fields(cls)}
        raw["opening"] = tuple(raw.get("opening", ()))
        return cls(**{key: value for key, value in raw.items() if key in known})

    def write(self, directory: Path) -> None:
        """Write the card into `directory`."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2)
        (directory / CARD).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Checkpoint:
    """A model, its codec and its card, loaded from `path` (None: made here)."""

    model: GPT2LMHeadModel
    codec: Codec
    card: Card
    path: Path | None = None

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Ids that must never be sampled: the codec's, and embedding rows that no entry belongs to."""
        spare = range(len(self.codec.vocabulary), self.model.config.vocab_size)
        return (*self.codec.banned_ids, *spare)

    @property
    def name(self) -> str:
        """A short name: the directory's."""
        return self.path.name if self.path else "unsaved"


def create_model(size: str, codec: Codec, *, dropout: float = 0.0, seed: int = 0) -> GPT2LMHeadModel:
    """A GPT-2 of `size` with random weights for the vocabulary and window of `codec`."""
    if size not in SIZES:
        raise ConfigError(f"--size {size}: choose one of {', '.join(SIZES)}")
    layers, width = SIZES[size]
    config = GPT2Config(
        vocab_size=len(codec.vocabulary),
        n_positions=codec.window,
        n_embd=width,
        n_layer=layers,
        n_head=width // 64,
        bos_token_id=codec.cls_id,
        eos_token_id=codec.sep_id,
        pad_token_id=codec.pad_id,
    )
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(config)
    set_dropout(model, dropout)
    return model


def set_dropout(model: nn.Module, rate: float) -> None:
    """Give every dropout of a GPT-2 the same `rate`, in the modules and in the config."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        config = getattr(module, "config", None)
        if isinstance(config, GPT2Config):
            config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = rate


def save_checkpoint(directory: Path, model: Any, codec: Codec, card: Card) -> None:
    """Write a model (or a LoRA adapter), its tokenizer and its card into `directory`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with quiet_transformers():
            model.save_pretrained(directory)
        codec.save(directory)
        card.write(directory)
    except OSError as error:
        raise CheckpointError(f"cannot write the model to {directory} ({error.strerror or error})") from error


def load_checkpoint(name: str | Path, device: str = "cpu") -> Checkpoint:
    """Load a model directory, a LoRA adapter directory (merged into its base) or a hub name.

    Raises CheckpointError with one clear line when `name` is missing, is not a GPT-2 directory, or when
    model, vocabulary and card do not belong together.
    """
    directory = _locate(name)
    card = Card.read(directory)
    adapter = directory / _ADAPTER
    model = _load_adapter(directory) if adapter.exists() else _load_model(directory)
    codec = Codec.load(directory)
    _check_fit(directory, model, codec, card)
    repair_special_ids(model, codec)
    model.train(False)
    try:
        model.to(device)  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {device} cannot be used here: {str(error).splitlines()[0]}") from error
    card = card or Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=codec.window)
    return Checkpoint(model, codec, card, directory)


def _locate(name: str | Path) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"{path} is a file: name the model's directory")
    text = str(name)
    looks_local = text.startswith((".", "/", "~")) or "\\" in text or text.count("/") != 1
    if looks_local or Path(text.split("/")[0]).is_dir():
        raise CheckpointError(f"no model directory {path}: train one with `chatgpt2 train-dialog CORPUS`")
    return _download(text)


def _download(name: str) -> Path:
    """Fetch a model from the Hugging Face hub (or HF_ENDPOINT, a mirror) into its cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.txt", "*.safetensors", "*.bin"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{name} is not a directory here and cannot be had from the hub ({reason}): check the name and the "
            "network, or set HF_ENDPOINT to a mirror"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars, reports and hints off the user's screen."""
    verbosity, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _load_model(directory: Path) -> GPT2LMHeadModel:
    if not (directory / "config.json").exists():
        raise CheckpointError(f"{directory} is not a model directory: it has no config.json")
    if not any(directory.glob("*.safetensors")) and not any(directory.glob("pytorch_model*.bin")):
        raise CheckpointError(f"{directory} has no weights (model.safetensors or pytorch_model.bin)")
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(directory)
            if config.model_type != "gpt2":
                raise CheckpointError(f"{directory} holds a {config.model_type} model: a GPT-2 is needed")
            _repair_config_ids(config)
            model = AutoModelForCausalLM.from_pretrained(directory, config=config, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{directory} cannot be loaded as a GPT-2: {reason}") from error
    assert isinstance(model, GPT2LMHeadModel)
    return model


def _repair_config_ids(config: Any) -> None:
    """Ids outside the vocabulary (GPT2-chitchat keeps 50256 of the English GPT-2) break generation."""
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(config, key, None)
        if isinstance(value, int) and not 0 <= value < config.vocab_size:
            setattr(config, key, None)


def _load_adapter(directory: Path) -> GPT2LMHeadModel:
    from peft import PeftModel

    try:
        base = json.loads((directory / _ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{directory / _ADAPTER} cannot be read ({error})") from error
    try:
        model = _load_model(_locate(base))
        merged = PeftModel.from_pretrained(model, str(directory)).merge_and_unload()
    except CheckpointError as error:
        raise CheckpointError(f"{directory} is a LoRA adapter and its base is missing: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{directory}: the adapter does not fit its base {base}: {reason}") from error
    assert isinstance(merged, GPT2LMHeadModel)
    return merged


def _check_fit(directory: Path, model: GPT2LMHeadModel, codec: Codec, card: Card | None) -> None:
    rows, entries = model.config.vocab_size, len(codec.vocabulary)
    if entries > rows:
        raise CheckpointError(
            f"{directory}: the vocabulary has {entries} entries but the model only {rows}: they do not belong "
            "together"
        )
    if card and card.vocabulary_hash != vocabulary_hash(codec.vocabulary):
        raise CheckpointError(
            f"{directory}: the vocabulary is not the one that the model was trained with ({CARD} has another "
            "hash): restore vocab.txt and tokenizer.json"
        )
    if codec.window > model.config.n_positions:
        raise CheckpointError(
            f"{directory}: the tokenizer says {codec.window} positions, the model has {model.config.n_positions}"
        )


def repair_special_ids(model: GPT2LMHeadModel, codec: Codec) -> None:
    """bos = [CLS], eos = [SEP], pad = [PAD], in the config and for `generate`."""
    for config in (model.config, model.generation_config):
        if config is not None:
            config.bos_token_id, config.eos_token_id = codec.cls_id, codec.sep_id
            config.pad_token_id = codec.pad_id


def add_lora(model: GPT2LMHeadModel, rank: int, *, base: str | Path, dropout: float = 0.0) -> Any:
    """Freeze `model` and add low-rank matrices (arXiv:2106.09685) to every Conv1D of its blocks."""
    from peft import LoraConfig, get_peft_model

    if rank < 1:
        raise ConfigError(f"--lora {rank}: the rank must be 1 or more")
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=dropout,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
    )
    local = Path(base).expanduser()
    model.name_or_path = str(local.resolve()) if local.is_dir() else str(base)
    return get_peft_model(model, config)


def freeze(model: GPT2LMHeadModel, blocks: int) -> None:
    """Stop the embeddings (and with them the tied head) and the lowest `blocks` blocks from learning."""
    layers = len(model.transformer.h)
    if not 0 <= blocks <= layers:
        raise ConfigError(f"--freeze {blocks}: the model has {layers} blocks")
    if blocks:
        frozen = [model.transformer.wte, model.transformer.wpe, *model.transformer.h[:blocks]]
        for module in frozen:
            module.requires_grad_(False)


def free_bytes(directory: Path) -> int:
    """Bytes free on the disk that holds `directory` or its nearest existing parent."""
    import shutil

    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(os.fspath(directory)).free
