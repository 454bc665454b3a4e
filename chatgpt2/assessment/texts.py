"""Running text: read in windows, and its loss told by pieces that are the same for every vocabulary."""

from __future__ import annotations

import numpy as np
from transformers import GPT2LMHeadModel

from chatgpt2.assessment.likelihood import Losses, Progress, batch_nats
from chatgpt2.material import Windows
from chatgpt2.quiet import quiet_transformers
from chatgpt2.tokens import Array, TokenFile

_PIECE = 1000  # characters of a piece, the last line of it as a whole
_BUDGET = 4096  # places of a batch


def stream_losses(
    model: GPT2LMHeadModel, tokens: TokenFile, window: int, pad_id: int, progress: Progress
) -> Losses:
    """The losses of the pieces of a stream.

    It is read in windows that follow one another, as a run reads what it holds out: a token sees half a window before
    it on average, and every token but the first is predicted once. A piece is about a thousand characters: what makes
    intervals, and lets two models with different vocabularies be compared on the same pieces.
    """
    nats = _nats(model, tokens, window, pad_id, progress)
    lengths = np.asarray(tokens.lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)[1:]  # [tokens - 1] the line of each that is predicted
    starts = np.cumsum(tokens.characters, dtype=np.int64) - tokens.characters
    keys, piece = np.unique(starts // _PIECE, return_inverse=True)

    def by_piece(of_lines: Array) -> Array:
        return np.bincount(piece, of_lines, len(keys))

    return Losses(
        keys.astype(np.uint64),
        by_piece(np.bincount(owner, nats, len(lengths))),
        by_piece(np.bincount(owner, minlength=len(lengths))).astype(np.int64),
        by_piece(tokens.characters).astype(np.int64),
    )


def _nats(model: GPT2LMHeadModel, tokens: TokenFile, window: int, pad_id: int, progress: Progress) -> Array:
    """[tokens - 1] nats of each token but the first."""
    windows = Windows(tokens.ids, 0, window, pad_id)
    found = []
    done = 0
    with quiet_transformers():
        for rows in windows.in_order(_BUDGET):
            batch = windows.__getitems__(rows)
            found.append(batch_nats(model, batch))
            done += batch.tokens
            progress(min(done, windows.tokens), windows.tokens)
    return np.concatenate(found) if found else np.zeros(0)
