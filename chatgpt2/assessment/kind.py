"""What a model is measured on: dialogues, or texts of one kind or another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from chatgpt2.anycodec import AnyCodec, load_codec
from chatgpt2.card import Card
from chatgpt2.codec import Codec
from chatgpt2.errors import ConfigError
from chatgpt2.hub import locate

Kind = Literal["dialogues", "stream", "lines", "records"]


def learned(codec: AnyCodec, card: Card | None) -> Kind:
    """What a model with this codec and card has learned."""
    if isinstance(codec, Codec):
        return "dialogues"
    shape: Any = card.learn if card and card.objective == "text" else "stream"
    return shape if shape in ("lines", "records") else "stream"


def require(kind: Kind, codec: AnyCodec, model: str | Path) -> None:
    """Raise ConfigError when the model cannot be measured on what is of this `kind`."""
    if kind == "dialogues" and not isinstance(codec, Codec):
        raise ConfigError(f"{model} goes on with texts and knows no dialogues: take --as stream")


def kind_for(models: Sequence[str | Path], kind: Kind | Literal["auto"]) -> Kind:
    """The kind that all `models` are measured on, so that they can be compared: of auto, what the first has learned.

    Raises ConfigError when one of them cannot be, CheckpointError when there is none.
    """
    folders = [locate(each) for each in models]
    cards = [Card.read(each) for each in folders]
    codecs = [load_codec(folder, card) for folder, card in zip(folders, cards, strict=True)]
    chosen = learned(codecs[0], cards[0]) if kind == "auto" else kind
    for model, codec in zip(models, codecs, strict=True):
        require(chosen, codec, model)
    return chosen
