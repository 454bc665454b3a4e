"""The data of a run: read, tokenised, split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chatgpt2.batches import held_out_count, split_held_out
from chatgpt2.codec import Codec
from chatgpt2.errors import CorpusError
from chatgpt2.material import Pile, pile_of
from chatgpt2.tokens import TokenFile, tokenise
from chatgpt2.training.options import TrainOptions
from chatgpt2.training.watch import Observer


@dataclass(frozen=True, slots=True)
class Data:
    """The examples to learn from and those held out."""

    learned: Pile
    held: Pile

    @property
    def fingerprint(self) -> str:
        """Names the content of both; a run goes on only with the same."""
        return f"{self.learned.file.fingerprint}/{self.held.file.fingerprint}"


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
        data = Data(pile_of(tokens, codec.pad_id), pile_of(read(options.eval_corpus), codec.pad_id))
    else:
        different = len(np.unique(tokens.dialogue))
        train, out = split_held_out(tokens, held_out_count(different, options.eval_fraction))
        data = Data(pile_of(tokens, codec.pad_id, train), pile_of(tokens, codec.pad_id, out))
    data.learned.longest = codec.window
    _describe(data, observer)
    return data


def _describe(data: Data, observer: Observer) -> None:
    counts = data.learned.file.counts
    text = f"{counts.dialogues:,} dialogues, {counts.turns:,} turns, {counts.tokens:,} tokens"
    if counts.split:
        text += f"; {counts.split:,} longer than the window were split"
    if counts.cut:
        text += f"; {counts.cut:,} turns longer than the window were cut"
    if counts.bad:
        text += f"; {counts.bad:,} bad records left out"
    observer.notice(text)
    observer.notice(
        f"training on {len(data.learned):,} examples, {len(data.held):,} held out"
        + ("" if len(data.held) else " (too few dialogues to spare any: no held-out loss)")
    )
