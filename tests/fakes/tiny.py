"""A model that is quickly made and knows nothing."""

from __future__ import annotations

from pathlib import Path

from chatgpt2.card import Card
from chatgpt2.checkpoint import create_model, save_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.vocabulary import SPECIAL, vocabulary_hash


def tiny_model(folder: Path) -> Path:
    """Its directory in `folder`."""
    codec = Codec([*SPECIAL, *"天地人你我他好"], 128)
    card = Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=128)
    save_checkpoint(folder / "小模型", create_model("tiny", codec), codec, card)
    return folder / "小模型"
