"""`train_text`: from texts to a checkpoint that writes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chatgpt2.checkpoint import Card, Checkpoint, create_model, load_text, set_special_ids
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import HeldOut
from chatgpt2.hub import locate
from chatgpt2.material import Material, Windows, pile_of
from chatgpt2.textcodec import TextCodec
from chatgpt2.tokenizer import bert_tokenizer, char_tokenizer, open_tokenizer, train_bpe, with_specials
from chatgpt2.tokens import TokenFile
from chatgpt2.training.learn import Result, Task, learn
from chatgpt2.training.options import FileOptions, TextOptions
from chatgpt2.training.samples import continuations
from chatgpt2.training.textdata import read_parts, tell_encodings, tokenise_part
from chatgpt2.training.watch import Observer
from chatgpt2.vocabulary import default_vocabulary, load_vocabulary
from chatgpt2.wordpiece import has_capitals

BLOCKS = {"stream": 256, "lines": 512, "records": 512}
_NOTHING = np.zeros(0, np.uint16)
_SHORTEST = 2  # tokens: one to begin with, one to learn


def train_text(
    options: TextOptions, cache: Path, observer: Observer, *, resume: bool = False
) -> Result[HeldOut]:
    """Train as `options` say, or with `resume` go on with the run in `options.out`.

    Raises CorpusError, CheckpointError or ConfigError for whatever a user can put right.
    """
    return learn(options, lambda device: text_task(options, cache, observer), observer, resume=resume)


def text_task(options: TextOptions, cache: Path, observer: Observer) -> Task:
    """What a run on texts needs: they are read here, and the model is opened."""
    parts = read_parts(options)
    start = begin(options, parts[0], options.bos, options.eos)
    codec = start.codec.shaped()
    files = [tokenise_part(part, codec, cache) for part in parts]
    learned, held, test = (_material(file, codec, options, n == 0) for n, file in enumerate(files))
    _require(options, learned, codec.window)
    tell_encodings((part.source.files for part in parts if part), observer)
    _describe(options, files, codec, observer)
    prompts = [ids[: max(1, min(24, len(ids) // 2))] for ids in held.first(options.samples)]
    return Task(
        start,
        codec.window,
        learned,
        held,
        "/".join(file.fingerprint if file else "-" for file in files),
        samples=lambda model: continuations(model, codec, prompts, start.banned_ids),
        test=test if len(test) else None,
        card={"objective": "text", "tokenizer": codec.kind, "learn": options.shape},
    )


def begin(
    options: FileOptions, texts: Iterable[str], bos: str | None = None, eos: str | None = None
) -> Checkpoint[TextCodec]:
    """The model before training, which has a row for each token of its tokenizer: the base, or a new one.

    texts  what a new tokenizer is made from
    """
    wrapped = options.shape != "stream"
    if options.base is not None:
        return _tuned(options, bos, eos, wrapped)
    tokenizer = with_specials(_new_tokenizer(options, texts), bos, eos)
    codec = TextCodec(tokenizer, options.block or BLOCKS[options.shape], wrapped=wrapped)
    return Checkpoint(create_model(options.size, codec, seed=options.seed), codec, Card())


def _new_tokenizer(options: FileOptions, texts: Iterable[str]) -> Any:
    name = options.tokenizer or "bert"
    if name == "char":
        return char_tokenizer(texts)
    if name == "bpe":
        return train_bpe(texts, options.entries or 8000)
    if name != "bert":
        return open_tokenizer(locate(name, options.hub, weights=False))
    entries = load_vocabulary(options.vocabulary) if options.vocabulary else default_vocabulary()
    return bert_tokenizer(entries, lowercase=not has_capitals(entries))


def _tuned(options: FileOptions, bos: str | None, eos: str | None, wrapped: bool) -> Checkpoint[TextCodec]:
    """The base; new special tokens get rows of their own, which begin as the mean of the others."""
    assert options.base is not None
    start = load_text(options.base, hub=options.hub)
    if options.tokenizer not in (None, start.codec.kind):
        raise ConfigError(
            f"--tokenizer {options.tokenizer}: the base's is {start.codec.kind}, and it can read no other: "
            "leave it out"
        )
    rows = start.model.config.vocab_size
    window = options.block or min(start.codec.window, BLOCKS[options.shape])
    if window > start.codec.window:
        raise ConfigError(f"--block {window}: the base has {start.codec.window} positions")
    tokenizer = with_specials(start.codec.tokenizer, bos, eos)
    if len(tokenizer) > rows:
        if options.lora is not None or options.freeze or options.frozen:
            raise ConfigError(
                "the base lacks the tokens that stand around a text, and their rows would not be learned with --lora "
                "or anything frozen: add them first (`chatgpt2 model resize-vocabulary`), or name ones that it has"
            )
        start.model.resize_token_embeddings(len(tokenizer))
    codec = TextCodec(tokenizer, window, wrapped=wrapped)
    set_special_ids(start.model, codec)
    return replace(start, codec=codec)


def _material(file: TokenFile | None, codec: TextCodec, options: TextOptions, learned: bool) -> Material:
    if file is None:
        return Windows(_NOTHING, 0, codec.window, codec.pad_id)
    if options.shape != "stream":
        return pile_of(file, codec.pad_id)
    shifted = learned and options.windows == "random"
    characters = int(file.characters.sum())
    return Windows(file.ids, characters, codec.window, codec.pad_id, shifted=shifted)


def _require(options: TextOptions, learned: Material, window: int) -> None:
    """Refuse what a run could learn nothing from."""
    where = ", ".join(map(str, options.paths))
    if options.shape == "stream" and learned.tokens < window:
        smaller = f"--block {max(8, learned.tokens // 2)} or " if learned.tokens >= 8 else ""
        raise ConfigError(
            f"{where}: {learned.tokens:,} tokens to train on are less than one window of {window}: give "
            f"{smaller}more text"
        )
    if learned.tokens < _SHORTEST or not len(learned):
        raise ConfigError(f"{where}: no text is left to train on; --split gives its share to others")


def _describe(
    options: TextOptions, files: Sequence[TokenFile | None], codec: TextCodec, observer: Observer
) -> None:
    entries = f"{codec.kind} tokenizer of {len(codec.vocabulary):,} entries"
    for name, file in zip(("training on", "held out", "kept for the test at the end"), files, strict=True):
        if file is None:
            if name == "held out":
                observer.notice("nothing held out: no held-out loss")
            continue
        characters, counts = int(file.characters.sum()), file.counts
        text = f"{name}: {counts.tokens:,} tokens, {characters:,} characters"
        if options.shape != "stream":
            text += f", {counts.dialogues:,} texts"
        if counts.split:
            text += f"; {counts.split:,} longer than {codec.window} tokens were cut into several"
        if counts.unknown:
            text += f"; {counts.unknown:,} tokens are unknown to the tokenizer"
        observer.notice(text)
    observer.notice(entries)
