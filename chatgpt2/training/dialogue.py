"""`train_dialog`: from dialogue files to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatgpt2.checkpoint import Card, Checkpoint, create_model, load_checkpoint
from chatgpt2.codec import Codec
from chatgpt2.errors import ConfigError
from chatgpt2.evaluation import HeldOut, distinct, repetition
from chatgpt2.training.data import read_data
from chatgpt2.training.learn import Result, Task, learn
from chatgpt2.training.options import TrainOptions
from chatgpt2.training.samples import prompts_of, sample_replies
from chatgpt2.training.watch import Observer
from chatgpt2.vocabulary import default_vocabulary, load_vocabulary

WINDOWS = {"tiny": 512, "small": 512, "base": 1024}
_FINAL_REPLIES = 50


def train_dialog(
    options: TrainOptions, cache: Path, observer: Observer, *, resume: bool = False
) -> Result[HeldOut]:
    """Train as `options` say, or with `resume` go on with the run in `options.out`.

    Raises CorpusError, CheckpointError or ConfigError for whatever a user can put right.
    """
    return learn(options, lambda device: _task(options, cache, observer), observer, resume=resume)


def _task(options: TrainOptions, cache: Path, observer: Observer) -> Task:
    start = _start(options)
    codec = _training_codec(start, options)
    data = read_data(options, codec, cache, observer)
    prompts = prompts_of(data.held, start.codec, options.samples)

    def figures(model: Any) -> dict[str, float]:
        asked = prompts_of(data.held, start.codec, _FINAL_REPLIES)
        replies = [s.reply for s in sample_replies(model, start.codec, asked, start.banned_ids)]
        return {"distinct_2": distinct(replies, 2), "repetition": repetition(replies)}

    return Task(
        start,
        codec.window,
        data.learned,
        data.held,
        data.fingerprint,
        samples=lambda model: sample_replies(model, start.codec, prompts, start.banned_ids),
        figures=figures,
        card={"learn": options.learn},
    )


def _start(options: TrainOptions) -> Checkpoint:
    """The model before training: the base, or random weights."""
    if options.base is not None:
        return load_checkpoint(options.base, hub=options.hub)
    entries = load_vocabulary(options.vocabulary) if options.vocabulary else default_vocabulary()
    codec = Codec(entries, options.length or WINDOWS.get(options.size, 512))
    model = create_model(options.size, codec, seed=options.seed)
    return Checkpoint(model, codec, Card())


def _training_codec(start: Checkpoint, options: TrainOptions) -> Codec:
    window = options.length or start.codec.window
    if window > start.codec.window:
        raise ConfigError(f"--length {window}: the base has {start.codec.window} positions")
    if window == start.codec.window:
        return start.codec
    return Codec(start.codec.vocabulary, window, start.codec.lowercase)
