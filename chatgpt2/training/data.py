"""The data of a run: read, tokenised, split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatgpt2.batches import held_out_count, split_held_out
from chatgpt2.codec import Codec
from chatgpt2.errors import CorpusError
from chatgpt2.tokens import Array, TokenFile, tokenise
from chatgpt2.training.options import TrainOptions
from chatgpt2.training.watch import Observer


@dataclass(frozen=True, slots=True)
class Data:
    """The examples to learn from and those held out."""

    tokens: TokenFile
    train: Array
    held_tokens: TokenFile
    held: Array

    @property
    def train_tokens(self) -> int:
        """Tokens to learn from."""
        return int(self.tokens.lengths[self.train].sum())

    @property
    def fingerprint(self) -> str:
        """Names the content of both; a run goes on only with the same."""
        return f"{self.tokens.fingerprint}/{self.held_tokens.fingerprint}"


def read_data(options: TrainOptions, codec: Codec, cache: Path, observer: Observer) -> Data:
    """The token files of the corpus, split as `options` say; files passed over are told to `observer`."""

    def on_skip(path: Path, why: str) -> None:
        observer.notice(f"passed over {path}: {why}")

    def on_bad(error: CorpusError) -> None:
        observer.notice(f"skipped {error}")

    def read(paths: tuple[Path, ...]) -> TokenFile:
        return tokenise(
            paths,
            codec,
            learn=options.learn,
            cache=cache,
            on_bad=on_bad if options.skip_bad else None,
            on_skip=on_skip,
            format=options.format,
            keep_system=options.keep_system,
        )

    tokens = read(options.corpus)
    if options.eval_corpus:
        held = read(options.eval_corpus)
        train, _ = split_held_out(tokens, 0)
        everything, _ = split_held_out(held, 0)
        _describe(tokens, train, everything, observer)
        return Data(tokens, train, held, everything)
    different = len(np.unique(tokens.dialogue))
    train, out = split_held_out(tokens, held_out_count(different, options.eval_fraction))
    _describe(tokens, train, out, observer)
    return Data(tokens, train, tokens, out)


def _describe(tokens: TokenFile, train: Array, out: Array, observer: Observer) -> None:
    counts = tokens.counts
    text = f"{counts.dialogues:,} dialogues, {counts.turns:,} turns, {counts.tokens:,} tokens"
    if counts.split:
        text += f"; {counts.split:,} longer than the window were split"
    if counts.cut:
        text += f"; {counts.cut:,} turns longer than the window were cut"
    if counts.bad:
        text += f"; {counts.bad:,} bad records left out"
    observer.notice(text)
    observer.notice(
        f"training on {len(train):,} examples, {len(out):,} held out"
        + ("" if len(out) else " (too few dialogues to spare any: no held-out loss)")
    )
