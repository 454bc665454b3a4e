"""A model directory: create, load, save; LoRA, freezing, the card.

A checkpoint is a plain Hugging Face directory, so every other tool loads it, plus `chatgpt2.json`, the card:
what the model was trained on and how to talk to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from typing_extensions import TypeVar

from chatgpt2.anycodec import AnyCodec as AnyCodec
from chatgpt2.anycodec import banned, check_fit, left_out, load_codec
from chatgpt2.card import Card as Card
from chatgpt2.codec import Codec
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.hub import Hub
from chatgpt2.hub import locate as locate
from chatgpt2.quiet import quiet_transformers as quiet_transformers
from chatgpt2.textcodec import TextCodec
from chatgpt2.vocabulary import vocabulary_hash
from chatgpt2.weights import CLASSIFIER, UNREADABLE, read_config, read_model, reason

SIZES = {"tiny": (4, 256), "small": (6, 384), "base": (12, 768)}
"""Layers and width; every head is 64 wide."""
_ADAPTER = "adapter_config.json"


C = TypeVar("C", bound=AnyCodec, default=Codec, covariant=True)


@dataclass(frozen=True)
class Checkpoint(Generic[C]):
    """A model, its codec and its card, loaded from `path` (None: made here)."""

    model: GPT2LMHeadModel
    codec: C
    card: Card
    path: Path | None = None

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Ids that must never be sampled."""
        return banned(self.codec, self.model.config.vocab_size)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Those of them that no prompt holds either."""
        return left_out(self.codec, self.model.config.vocab_size)

    @property
    def name(self) -> str:
        """A short name: the directory's."""
        return self.path.name if self.path else "unsaved"


AnyCheckpoint = Checkpoint[AnyCodec]


def create_model(size: str, codec: AnyCodec, *, dropout: float = 0.0, seed: int = 0) -> GPT2LMHeadModel:
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
        bos_token_id=codec.bos_id,
        eos_token_id=codec.eos_id,
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


def save_checkpoint(directory: Path, model: Any, codec: AnyCodec, card: Card) -> None:
    """Write a model (or a LoRA adapter), its tokenizer and its card into `directory`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with quiet_transformers():
            model.save_pretrained(directory)
        codec.save(directory)
        card.write(directory)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the model to {directory} ({reason(error)})") from error


def load_checkpoint(name: str | Path, device: str = "cpu", *, hub: Hub = "huggingface") -> Checkpoint:
    """Load a model with a BERT vocabulary: a directory, a LoRA adapter directory (merged into its base) or a hub
    name.

    Raises CheckpointError with one clear line when `name` is missing, is not a GPT-2 directory, or when
    model, vocabulary and card do not belong together.
    """
    directory = locate(name, hub)
    card = Card.read(directory)
    if card and card.tokenizer != "bert":
        raise CheckpointError(
            f"{directory} was trained on plain text with a {card.tokenizer} tokenizer; dialogues need BERT's: train "
            "such a one with `chatgpt2 train-text --tokenizer bert`"
        )
    return _load(directory, device, Codec.load)


def load_any(name: str | Path, device: str = "cpu") -> AnyCheckpoint:
    """`load_checkpoint`, for models of text as well: with any tokenizer that transformers loads."""
    directory = locate(name)
    return _load(directory, device, partial(load_codec, card=Card.read(directory)))


def load_text(name: str | Path, device: str = "cpu", *, hub: Hub = "huggingface") -> Checkpoint[TextCodec]:
    """`load_any`, as one that goes on with texts."""
    return _load(locate(name, hub), device, TextCodec.load)


def _load(directory: Path, device: str, read: Callable[[Path], C]) -> Checkpoint[C]:
    card = Card.read(directory)
    model = _load_weights(directory)
    codec = read(directory)
    check_fit(directory, model.config.vocab_size, model.config.n_positions, codec, card)
    repair_special_ids(model, codec)
    model.train(False)
    place(model, device)
    card = card or Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=codec.window)
    return Checkpoint(model, codec, card, directory)


def place(model: nn.Module, device: str) -> None:
    """Bring a model to a device. Raises ConfigError when it cannot be used here."""
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {device} cannot be used here: {str(error).splitlines()[0]}") from error


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds a LoRA adapter rather than a whole model."""
    return (directory / _ADAPTER).exists()


def _load_weights(directory: Path) -> GPT2LMHeadModel:
    if is_adapter(directory):
        return _load_adapter(directory)
    config = read_config(directory)
    if CLASSIFIER in (config.architectures or ()):
        raise CheckpointError(
            f"{directory} judges texts and writes none: take `chatgpt2 classify {directory}`"
        )
    return read_model(directory, GPT2LMHeadModel, config)


def _load_adapter(directory: Path) -> GPT2LMHeadModel:
    from peft import PeftModel

    try:
        base = json.loads((directory / _ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{directory / _ADAPTER} cannot be read ({error})") from error
    try:
        model = _load_weights(locate(base, _hub_of(directory)))
    except CheckpointError as error:
        raise CheckpointError(f"{directory} is a LoRA adapter whose base cannot be used: {error}") from error
    try:
        with quiet_transformers():
            merged = PeftModel.from_pretrained(model, str(directory)).merge_and_unload()
    except UNREADABLE as error:
        raise CheckpointError(f"{directory} does not fit its base {base}: {reason(error)}") from error
    assert isinstance(merged, GPT2LMHeadModel)
    return merged


def _hub_of(adapter: Path) -> Hub:
    """Where the base of an adapter that was trained here is fetched from, if it is no directory."""
    card = Card.read(adapter)
    return "modelscope" if card and card.training.get("hub") == "modelscope" else "huggingface"


def repair_special_ids(model: GPT2LMHeadModel, codec: AnyCodec) -> None:
    """bos = [CLS], eos = [SEP], pad = [PAD], in the config and for `generate`; a text's are left as they are."""
    if isinstance(codec, TextCodec):
        return
    set_special_ids(model, codec)


def set_special_ids(model: Any, codec: AnyCodec) -> None:
    """Write the codec's special tokens into the configs of `model`."""
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None:
            config.bos_token_id, config.eos_token_id = codec.bos_id, codec.eos_id
            config.pad_token_id = codec.pad_id


def add_lora(
    model: Any, rank: int, *, base: str | Path, dropout: float = 0.0, whole: Sequence[str] = ()
) -> Any:
    """Freeze `model` and add low-rank matrices (arXiv:2106.09685) to every Conv1D of its blocks.

    whole  modules that are new and learn as they are
    """
    from peft import LoraConfig, get_peft_model

    if rank < 1:
        raise ConfigError(f"--lora {rank}: the rank must be 1 or more")
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=dropout,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
        modules_to_save=list(whole) or None,
    )
    local = Path(base).expanduser()
    model.name_or_path = str(local.resolve()) if local.is_dir() else str(base)
    with quiet_transformers():
        adapted = get_peft_model(model, config)
    # Left to decide itself whether an adapter holds the embeddings, peft asks the hub about its base at each saving.
    adapted.save_pretrained = partial(adapted.save_pretrained, save_embedding_layers=False)  # type: ignore[method-assign]
    return adapted


def freeze(model: Any, blocks: int) -> None:
    """Stop the embeddings (and with them the tied head) and the lowest `blocks` blocks from learning."""
    layers = len(model.transformer.h)
    if not 0 <= blocks <= layers:
        raise ConfigError(f"--freeze {blocks}: the model has {layers} blocks")
    if blocks:
        frozen = [model.transformer.wte, model.transformer.wpe, *model.transformer.h[:blocks]]
        for module in frozen:
            module.requires_grad_(False)
