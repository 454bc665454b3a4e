"""What a foreign model has learned, and the codec that goes with it: told from its files, or by who knows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from chatgpt2.anycodec import AnyCodec
from chatgpt2.card import Card
from chatgpt2.codec import Codec
from chatgpt2.errors import CheckpointError, ConfigError
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokenizer import bert_tokenizer
from chatgpt2.vocabulary import load_vocabulary, read_tokenizer_kind, vocabulary_hash
from chatgpt2.wordpiece import has_capitals

Objective = Literal["dialogue", "text"]
OBJECTIVES: tuple[Objective, ...] = ("dialogue", "text")
_LONGEST = 1024  # tokens, where nothing says how many positions there are


def objective_of(
    folder: Path, asked: str | None, vocabulary: Path | None, *, uer: bool, notes: list[str]
) -> Objective:
    """What the model in `folder` has learned.

    Its card says so where it has one. Only texts can it be with another tokenizer than BERT's. Of those with BERT's,
    what UER published goes on with texts, and GPT2-chitchat and CDial answer.
    """
    if asked is not None and asked not in OBJECTIVES:
        raise ConfigError(f"--objective {asked}: choose one of {', '.join(OBJECTIVES)}")
    words = vocabulary is not None or _is_bert(folder)
    if asked == "dialogue" and not words:
        raise ConfigError(
            f"--objective dialogue: dialogues need BERT's vocabulary, and the tokenizer in {folder} is another: "
            "leave it out"
        )
    if asked is not None:
        return "text" if asked == "text" else "dialogue"
    card = Card.read(folder)
    if card is not None and card.objective in OBJECTIVES:
        return "text" if card.objective == "text" else "dialogue"
    found: Objective = "text" if uer or not words else "dialogue"
    if words:
        meant, other = ("goes on with texts", "dialogue") if uer else ("answers in dialogues", "text")
        notes.append(f"it is taken for one that {meant}; if that is wrong: --objective {other}")
    return found


def codec_of(folder: Path, objective: Objective, vocabulary: Path | None) -> AnyCodec:
    """The codec of the tokenizer in `folder`, or of the `vocabulary` file instead."""
    if vocabulary is not None:
        entries = load_vocabulary(vocabulary)
        if objective == "dialogue":
            return Codec(entries, _LONGEST)
        return TextCodec(bert_tokenizer(entries, lowercase=not has_capitals(entries)), _LONGEST, wrapped=True)
    try:
        return Codec.load(folder) if objective == "dialogue" else TextCodec.load(folder)
    except CheckpointError as error:
        if any((folder / name).exists() for name in ("tokenizer.json", "merges.txt")):
            raise
        raise CheckpointError(f"{error}: give the model's vocab.txt with --vocabulary") from error


def narrowed(codec: AnyCodec, window: int) -> AnyCodec:
    """The codec for a model with so many positions; a text's tokenizer begins a prompt as the texts began."""
    if isinstance(codec, Codec):
        return Codec(codec.vocabulary, window, codec.lowercase)
    return TextCodec(codec.tokenizer, window, wrapped=codec.wrapped).shaped()


def card_of(codec: AnyCodec, objective: Objective) -> Card:
    """The card of the model that is made."""
    kind = codec.kind if isinstance(codec, TextCodec) else "bert"
    learn = "all" if objective == "dialogue" else "stream"
    digest = vocabulary_hash(codec.vocabulary)
    return Card(vocabulary_hash=digest, window=codec.window, learn=learn, objective=objective, tokenizer=kind)


def _is_bert(folder: Path) -> bool:
    """Whether the tokenizer there is BERT's; also where there is none, for then it will be a vocab.txt."""
    if not any((folder / name).exists() for name in ("tokenizer.json", "merges.txt")):
        return True
    return read_tokenizer_kind(folder) == "WordPiece"
