"""What a model directory says of itself: its tokenizer, whether they belong together, what it is for."""

from __future__ import annotations

from pathlib import Path

from chatgpt2.card import CARD, Card
from chatgpt2.codec import Codec
from chatgpt2.errors import CheckpointError
from chatgpt2.hub import locate
from chatgpt2.textcodec import TextCodec
from chatgpt2.vocabulary import vocabulary_hash

AnyCodec = Codec | TextCodec


def load_codec(directory: Path, card: Card | None) -> AnyCodec:
    """The codec of a model of dialogues or of texts. Raises CheckpointError when there is none."""
    if card is not None and card.objective == "text":
        return TextCodec.load(directory)
    try:
        return Codec.load(directory)
    except CheckpointError:
        if not any((directory / file).exists() for file in ("tokenizer.json", "merges.txt")):
            raise
        return TextCodec.load(directory)


def check_fit(directory: Path, rows: int, positions: int, codec: AnyCodec, card: Card | None) -> None:
    """Raise CheckpointError when tokenizer, card and a model of so many embeddings and positions do not belong
    together."""
    entries = len(codec.vocabulary)
    if entries > rows:
        raise CheckpointError(
            f"{directory}: the vocabulary has {entries} entries but the model only {rows}: they do not belong "
            "together; restore the tokenizer's files that came with the weights"
        )
    if card and card.vocabulary_hash != vocabulary_hash(codec.vocabulary):
        raise CheckpointError(
            f"{directory}: the vocabulary is not the one that the model was trained with ({CARD} has another "
            "hash): restore vocab.txt and tokenizer.json"
        )
    if codec.window > positions:
        raise CheckpointError(
            f"{directory}: the tokenizer says {codec.window} positions, the model has {positions}: put "
            "model_max_length in tokenizer_config.json right"
        )


def banned(codec: AnyCodec, rows: int) -> tuple[int, ...]:
    """Ids that must never be sampled: the codec's, and those that are left out."""
    return (*codec.banned_ids, *left_out(codec, rows))


def left_out(codec: AnyCodec, rows: int) -> tuple[int, ...]:
    """Ids that no prompt holds either: entries that no text gives, and embedding rows that no entry belongs to."""
    return (*codec.unwritten_ids, *range(len(codec.vocabulary), rows))


def require_dialogue(source: str | Path) -> None:
    """Raise CheckpointError when the model in `source` has learned texts, not dialogues."""
    directory = locate(source)
    card = Card.read(directory)
    if card is None or card.objective == "dialogue":
        return
    if card.objective in ("classification", "regression"):
        raise CheckpointError(
            f"{directory} judges texts and writes none: take `chatgpt2 classify {directory}`"
        )
    advice = (
        f"teach it with `chatgpt2 train-dialog CORPUS --base {directory}`, or "
        if card.tokenizer == "bert"
        else ""
    )
    raise CheckpointError(
        f"{directory} was trained on plain text: it writes on, and does not answer; {advice}take `chatgpt2 generate`"
    )
