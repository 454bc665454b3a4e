"""Another vocabulary for a trained model: rows are kept by what they stand for, new ones begin at their parts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from chatgpt2.checkpoint import (
    AnyCodec,
    load_any,
    repair_special_ids,
    save_checkpoint,
)
from chatgpt2.codec import Codec
from chatgpt2.errors import ConfigError
from chatgpt2.surgery.place import fresh_folder
from chatgpt2.textcodec import TextCodec
from chatgpt2.vocabulary import vocabulary_hash


@dataclass(frozen=True, slots=True)
class Resized:
    """How many entries stayed, came and went."""

    kept: int
    added: int
    removed: int


def resize_vocabulary(
    source: str | Path,
    out: str | Path,
    *,
    vocabulary: Sequence[str] | None = None,
    add: Sequence[str] = (),
    force: bool = False,
) -> Resized:
    """Write the model at `source` to `out` with the entries of `vocabulary`, or with those of `add` behind its own.

    An entry that both have keeps its row, wherever it stands; a new one begins as the mean of the rows that it was
    spelled with so far, so that the model is not thrown off. Raises ConfigError or CheckpointError.
    """
    if (vocabulary is None) == (not add):
        raise ConfigError("give either --vocabulary FILE or --add TOKEN")
    found = load_any(source)
    old = found.codec.vocabulary
    codec = _extended(found.codec, add) if vocabulary is None else _exchanged(found.codec, vocabulary)
    model = resized(found.model, found.codec, codec.vocabulary)
    repair_special_ids(model, codec)
    card = replace(found.card, vocabulary_hash=vocabulary_hash(codec.vocabulary), metrics={})
    with fresh_folder(Path(out), force=force, source=found.path) as draft:
        save_checkpoint(draft, model, codec, card)
    kept = len(set(old) & set(codec.vocabulary))
    return Resized(kept, len(codec.vocabulary) - kept, len(old) - kept)


def _extended(codec: AnyCodec, add: Sequence[str]) -> AnyCodec:
    if there := [entry for entry in add if entry in codec.vocabulary]:
        raise ConfigError(f"--add {there[0]}: the vocabulary has it already")
    if isinstance(codec, Codec):
        return _exchanged(codec, [*codec.vocabulary, *dict.fromkeys(add)])
    tokenizer = copy.deepcopy(codec.tokenizer)  # the old one still has to spell the new entries
    tokenizer.add_tokens(list(dict.fromkeys(add)), special_tokens=True)
    return TextCodec(tokenizer, codec.window)


def _exchanged(codec: AnyCodec, entries: Sequence[str]) -> Codec:
    if not isinstance(codec, Codec):
        raise ConfigError(
            "--vocabulary is for BERT vocabularies, and this model has another tokenizer: take --add"
        )
    return Codec(entries, codec.window, codec.lowercase)


@torch.no_grad()
def resized(model: GPT2LMHeadModel, codec: AnyCodec, entries: Sequence[str]) -> GPT2LMHeadModel:
    """A copy of `model`, made for `codec`, that has a row for each of `entries`."""
    config = model.config.__class__.from_dict(model.config.to_dict())
    config.vocab_size = len(entries)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if (getattr(config, name) or 0) >= len(entries):
            setattr(config, name, None)
    fresh = GPT2LMHeadModel(config)
    state = {name: each for name, each in model.state_dict().items() if name not in _ROWS}
    fresh.load_state_dict(state, strict=False)
    sources = _sources(codec, entries)
    pairs: list[tuple[nn.Module, nn.Module]] = [(model.transformer.wte, fresh.transformer.wte)]
    if model.lm_head.weight is not model.transformer.wte.weight:
        pairs.append((model.lm_head, fresh.lm_head))
    for old, new in pairs:
        _fill(old.get_parameter("weight"), new.get_parameter("weight"), sources)
    fresh.train(False)
    return fresh


_ROWS = ("transformer.wte.weight", "lm_head.weight")


def _sources(codec: AnyCodec, entries: Sequence[str]) -> list[list[int]]:
    """For each entry the old ids that its row is the mean of; none: of all."""
    place = {entry: number for number, entry in enumerate(codec.vocabulary)}
    unknown = codec.unk_id if isinstance(codec, Codec) else -1
    found = []
    for entry in entries:
        ids = [place[entry]] if entry in place else _spelled(codec, entry)
        found.append([number for number in ids if number != unknown or entry in place])
    return found


def _spelled(codec: AnyCodec, entry: str) -> list[int]:
    text = entry.removeprefix("##")
    if isinstance(codec, Codec):
        return [int(number) for number in codec.encode_texts([text])[0]]
    return codec.begin(text)


def _fill(old: Tensor, new: Tensor, sources: Sequence[Sequence[int]]) -> None:
    middle = old.mean(0)
    for row, ids in enumerate(sources):
        new[row] = old[list(ids)].mean(0) if ids else middle
