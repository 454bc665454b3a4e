"""How likely a model finds text: the loss of every example, without gradients and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from chatgpt2.batches import Batch, collate, cut_batches
from chatgpt2.quiet import quiet_transformers
from chatgpt2.tokens import Array, TokenFile

_BUDGET = 4096  # places of a batch, padding included
_LOGITS = 1 << 22  # logits at once

Progress = Callable[[int, int], None]
"""Told how many tokens are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What a model makes of each dialogue (or text): sums, so that they can be added up and drawn again.

    keys        [n] uint64 what each one is, by its content; the same for every model
    nll         [n] float64 nats of all its labelled tokens
    tokens      [n] int64 labelled tokens
    characters  [n] int64 that these spell
    """

    keys: npt.NDArray[np.uint64]
    nll: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]
    characters: npt.NDArray[np.int64]


def losses(
    model: GPT2LMHeadModel, tokens: TokenFile, pad_id: int, progress: Progress = lambda done, total: None
) -> Losses:
    """The losses of all dialogues of a token file, in fp32, on the device where the model lies."""
    with quiet_transformers():
        nll, labels = example_losses(model, tokens, np.arange(len(tokens)), pad_id, progress)
    keys, which = np.unique(tokens.dialogue, return_inverse=True)
    count = len(keys)
    return Losses(
        keys,
        np.bincount(which, nll, count).astype(np.float64),
        np.bincount(which, labels, count).astype(np.int64),
        np.bincount(which, tokens.characters, count).astype(np.int64),
    )


def example_losses(
    model: GPT2LMHeadModel, tokens: TokenFile, examples: Array, pad_id: int, progress: Progress
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """nats [examples] and labelled tokens [examples], batched by length."""
    nll, labels = np.zeros(len(examples)), np.zeros(len(examples), np.int64)
    lengths = np.asarray(tokens.lengths)[examples]
    total, done = int(lengths.sum()), 0
    for some in cut_batches(lengths, lengths.argsort(kind="stable"), _BUDGET):
        batch = collate(tokens, [[int(examples[i])] for i in some], pad_id)
        nll[some], labels[some] = _batch_losses(model, batch)
        done += batch.tokens
        progress(done, total)
    return nll, labels


def _batch_losses(model: GPT2LMHeadModel, batch: Batch) -> tuple[Array, Array]:
    """nats [rows] and labels [rows]."""
    rows, width = batch.ids.shape
    row = (batch.places // width).numpy()
    return np.bincount(row, batch_nats(model, batch), rows), np.bincount(row, minlength=rows)


@torch.inference_mode()
def batch_nats(model: GPT2LMHeadModel, batch: Batch) -> npt.NDArray[np.float64]:
    """[labels] nats of each label of the batch."""
    weight = model.lm_head.weight
    hidden = model.transformer(input_ids=batch.ids.to(weight.device), use_cache=False).last_hidden_state
    wanted = hidden.flatten(0, 1).index_select(0, batch.places.to(weight.device))  # [labels, d]
    chunk = max(1, _LOGITS // weight.shape[0])
    labels = batch.labels.to(weight.device)
    starts = range(0, len(labels), chunk)
    parts = [_nats(wanted[at : at + chunk], weight, labels[at : at + chunk]) for at in starts]
    nats: npt.NDArray[np.float64] = torch.cat(parts).double().cpu().numpy() if parts else np.zeros(0)
    return nats


def _nats(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """[n] negative log probabilities of `labels` [n] after `hidden` [n, d]."""
    logits = (hidden @ weight.T).float()  # [n, vocabulary]
    return logits.logsumexp(-1) - logits.gather(1, labels[:, None]).squeeze(1)
