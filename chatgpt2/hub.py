"""Where a model comes from: a directory here, the Hugging Face hub or a mirror of it, or ModelScope."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from chatgpt2.errors import CheckpointError, ConfigError

Hub = Literal["huggingface", "modelscope"]

_WANTED = ["*.json", "*.txt", "*.safetensors", "*.bin"]
LAYOUT = (
    "a directory with config.json, model.safetensors (or its shards with model.safetensors.index.json, or "
    "pytorch_model.bin) and tokenizer.json (or vocab.txt, or vocab.json with merges.txt)"
)


def locate(name: str | Path, hub: Hub = "huggingface") -> Path:
    """The directory of a model, fetched from the hub where `name` is one of there.

    Raises CheckpointError when it is neither here nor there, ConfigError when `hub` cannot be used here.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"{path} is a file: name the model's directory")
    text = str(name)
    looks_local = text.startswith((".", "/", "~")) or "\\" in text or text.count("/") > 1
    if looks_local or Path(text.split("/")[0]).is_dir() or (text.count("/") == 0 and not _is_bare(text)):
        raise CheckpointError(f"no model directory {path}: train one with `chatgpt2 train-dialog CORPUS`")
    return _from_modelscope(text) if hub == "modelscope" else _from_huggingface(text)


def _is_bare(name: str) -> bool:
    """The few models of the Hugging Face hub that belong to nobody, and so have no slash."""
    return name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")


def _from_huggingface(name: str) -> Path:
    """Fetch a model from the Hugging Face hub (or HF_ENDPOINT, a mirror) into its cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    foreseen = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError)
    hint = "set HF_ENDPOINT to a mirror"
    return _fetched(name, lambda: snapshot_download(name, allow_patterns=_WANTED), foreseen, "the hub", hint)


def _from_modelscope(name: str) -> Path:
    """Fetch a model from ModelScope into its cache."""
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise ConfigError("--hub modelscope needs its package: `pip install chatgpt2[modelscope]`") from error
    # The package raises whatever its HTTP library and its server's answers come to.
    return _fetched(
        name,
        lambda: snapshot_download(name, allow_patterns=_WANTED),
        (Exception,),
        "ModelScope",
        "leave --hub modelscope out",
    )


def _fetched(
    name: str, fetch: Callable[[], str], foreseen: tuple[type[Exception], ...], where: str, hint: str
) -> Path:
    try:
        return Path(fetch())
    except foreseen as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".:")
        raise CheckpointError(
            f"{name} is not a directory here and cannot be had from {where} ({reason}): check the name and the "
            f"network, {hint}, or give {LAYOUT}"
        ) from error
