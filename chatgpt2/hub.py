"""Where a model comes from: a directory here, the Hugging Face hub or a mirror of it, or ModelScope."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from chatgpt2.errors import CheckpointError, ConfigError

Hub = Literal["huggingface", "modelscope"]

_TOKENIZER = ["*.json", "*.txt"]
_WEIGHTS = ["*.safetensors", "*.bin"]
_REASON = 160  # characters of what a hub's package says
LAYOUT = (
    "a directory with config.json, model.safetensors (or its shards with model.safetensors.index.json, or "
    "pytorch_model.bin) and tokenizer.json (or vocab.txt, or vocab.json with merges.txt)"
)


def locate(name: str | Path, hub: Hub = "huggingface", *, weights: bool = True) -> Path:
    """The directory of a model, fetched from the hub where `name` is one of there; without `weights` what its
    tokenizer needs.

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
    wanted = [*_TOKENIZER, *_WEIGHTS] if weights else _TOKENIZER
    return _from_modelscope(text, wanted) if hub == "modelscope" else _from_huggingface(text, wanted)


def _is_bare(name: str) -> bool:
    """The few models of the Hugging Face hub that belong to nobody, and so have no slash."""
    return name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")


def _from_huggingface(name: str, wanted: list[str]) -> Path:
    """Fetch a model from the Hugging Face hub (or HF_ENDPOINT, a mirror) into its cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    foreseen = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError)
    hint = "set HF_ENDPOINT to a mirror"
    return _fetched(name, lambda: snapshot_download(name, allow_patterns=wanted), foreseen, "the hub", hint)


def _from_modelscope(name: str, wanted: list[str]) -> Path:
    """Fetch a model from ModelScope into its cache, which must do where ModelScope cannot be reached."""
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise ConfigError("--hub modelscope needs its package: `pip install chatgpt2[modelscope]`") from error

    def fetch() -> str:
        try:
            return str(snapshot_download(name, allow_patterns=wanted))
        except Exception:
            with suppress(Exception):
                kept = Path(snapshot_download(name, local_files_only=True))
                if wanted == _TOKENIZER or any(file for kind in _WEIGHTS for file in kept.glob(kind)):
                    return str(kept)
            raise

    # The package raises whatever its HTTP library and its server's answers come to.
    return _fetched(name, fetch, (Exception,), "ModelScope", "leave --hub modelscope out")


def _fetched(
    name: str, fetch: Callable[[], str], foreseen: tuple[type[Exception], ...], where: str, hint: str
) -> Path:
    try:
        return Path(fetch())
    except foreseen as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".:")
        reason = textwrap.shorten(first, _REASON, placeholder=" …")
        raise CheckpointError(
            f"{name} is not a directory here and cannot be had from {where} ({reason}): check the name and the "
            f"network, {hint}, or give {LAYOUT}"
        ) from error
