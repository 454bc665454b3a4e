"""Texts that a model writes: going on with a text, or answering as in a dialogue; many in one batch."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatgpt2.device import choose_device
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import EngineOptions, SamplingParams
from chatgpt2.errors import ConfigError
from chatgpt2.generating import Ending, Piece, Stops
from chatgpt2.generating import generate as pieces
from chatgpt2.loading import in_torch, open_model
from chatgpt2.serving import Serving

if TYPE_CHECKING:
    from chatgpt2.checkpoint import AnyCheckpoint

_AT_ONCE = 64  # prompts under way: enough to fill any engine's batch, few enough for any engine's queue


@dataclass(frozen=True, slots=True)
class Order:
    """What to write.

    dialogue  a prompt is what a user says, and is answered; else it is a text that is gone on with
    stops     where to end: entries of the vocabulary, or any other strings; they are not part of the text
    sampling  settings of SamplingParams over those of the model
    """

    dialogue: bool = False
    stops: tuple[str, ...] = ()
    sampling: dict[str, Any] = field(default_factory=dict)

    def params(self, serving: Serving) -> SamplingParams:
        """The settings, with the model's own where nothing is said, and what of `stops` the vocabulary has."""
        codec = serving.codec
        most = min(serving.defaults.max_new_tokens, max(1, codec.window // 2))
        params = replace(serving.defaults, **{"max_new_tokens": most, **self.sampling})
        own = [codec.vocabulary.index(stop) for stop in self.stops if stop in codec.vocabulary]
        return replace(params, stop_ids=(*(params.stop_ids or codec.stop_ids), *own))

    def ids(self, prompt: str, serving: Serving, params: SamplingParams) -> list[int]:
        """The prompt as the model reads it. Raises ConfigError when it leaves no room in the window."""
        if self.dialogue:
            dialogue = Dialogue().say("user", prompt)
            return serving.codec.prompt(dialogue, serving.room(params), serving.opening)
        ids = serving.codec.begin(prompt)
        if len(ids) >= serving.codec.window:
            raise ConfigError(
                f"the prompt {prompt[:20]!r} … has {len(ids)} tokens, and the model's window {serving.codec.window}: "
                "shorten it"
            )
        return ids


@dataclass(frozen=True, slots=True)
class Written:
    """The texts that a model wrote to one prompt, without it, and why each ended."""

    prompt: str
    texts: tuple[str, ...]
    finishes: tuple[Ending, ...]


def stream(serving: Serving, prompt: str, order: Order) -> AsyncGenerator[Piece]:
    """One prompt's texts, in pieces as they come (see `generating.generate`)."""
    params = order.params(serving)
    ids = order.ids(prompt, serving, params)
    return pieces(serving, ids, params, order.stops)


async def write(
    serving: Serving,
    prompts: Sequence[str],
    order: Order,
    written: Callable[[], None] = lambda: None,
) -> list[Written]:
    """The texts to all prompts, in order, all of them under way together. `written` is called after each prompt.

    With a seed every prompt has one of its own, counted on from it.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, prompt: str) -> Written:
        async with places:
            result = await _collect(prompt, stream(serving, prompt, _seeded(order, number)))
        written()
        return result

    tasks = [asyncio.ensure_future(one(number, prompt)) for number, prompt in enumerate(prompts)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _seeded(order: Order, number: int) -> Order:
    seed = order.sampling.get("seed")
    return order if seed is None else replace(order, sampling={**order.sampling, "seed": seed + number})


async def _collect(prompt: str, found: AsyncGenerator[Piece]) -> Written:
    texts: defaultdict[int, str] = defaultdict(str)
    finishes: dict[int, Ending] = {}
    async with aclosing(found):
        async for piece in found:
            texts[piece.index] += piece.text
            if piece.finish:
                finishes[piece.index] = piece.finish
    replies = sorted(finishes)
    return Written(prompt, tuple(texts[i] for i in replies), tuple(finishes[i] for i in replies))


def search(checkpoint: AnyCheckpoint, prompts: Sequence[str], order: Order, beams: int) -> list[Written]:
    """The likeliest `n` texts to each prompt that a search with `beams` beams finds.

    The engines choose token by token and have no beams, so this is transformers' `generate`, one prompt after the
    other. It draws nothing: temperature, top-k, top-p and seed mean nothing to it.
    """
    from chatgpt2.engine.beams import beam_search

    codec, serving = checkpoint.codec, in_torch(checkpoint)
    params = order.params(serving)
    found = []
    for prompt in prompts:
        ids = order.ids(prompt, serving, params)
        replies = beam_search(
            checkpoint.model, ids, params, beams, banned_ids=checkpoint.banned_ids, pad_id=codec.pad_id
        )
        texts = [Stops(order.stops).push(codec.decode(reply), last=True) for reply, _ in replies]
        found.append(Written(prompt, tuple(texts), tuple(finish for _, finish in replies)))
    return found


def generate(
    model: str | Path,
    prompts: str | Sequence[str],
    *,
    dialogue: bool = False,
    stops: Sequence[str] = (),
    beams: int = 0,
    engine: EngineOptions | None = None,
    cache: Path | None = None,
    **sampling: Any,
) -> list[Written]:
    """What a model (a directory or hub name) writes to each prompt.

        generate("models/novel", ["话说", "那猴王"], n=3, temperature=0.7)[0].texts

    `sampling` are settings of SamplingParams; `cache` is where converted models go that have no place beside the
    weights. Raises CheckpointError, ConfigError or EngineError for whatever a user can put right.
    """
    order = Order(dialogue, tuple(stops), sampling)
    wanted = [prompts] if isinstance(prompts, str) else list(prompts)
    options = engine or EngineOptions()
    if beams:
        from chatgpt2.checkpoint import load_any

        return search(load_any(model, choose_device(options.device)), wanted, order, beams)

    async def run() -> list[Written]:
        with tempfile.TemporaryDirectory() as folder:
            serving = open_model(model, options, cache or Path(folder))
            try:
                return await write(serving, wanted, order)
            finally:
                await serving.engine.close()

    return asyncio.run(run())
