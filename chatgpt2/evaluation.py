"""How good a model is: figures from its loss on held-out text, and from what it says.

The loss over batches is the trainer's work; it hands sums to `HeldOut.of`. Everything else is pure.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatgpt2.engine.base import Engine, SamplingParams
from chatgpt2.errors import ConfigError

if TYPE_CHECKING:
    from chatgpt2.codec import Codec
    from chatgpt2.dialogue import Dialogue

_AT_ONCE = 128  # prompts under way: enough to fill any engine's batch, few enough for any engine's queue


def perplexity(nll_per_token: float) -> float:
    """exp(nll per token): among how many equally likely tokens the model hesitates.

    Comparable only between models of one vocabulary.
    """
    try:
        return math.exp(nll_per_token)
    except OverflowError:
        return math.inf


def perplexity_per_character(nll_sum: float, characters: int) -> float:
    """exp(nll_sum / characters), comparable between vocabularies.

    `nll_sum` is the natural-log loss of all labelled tokens of the text, the ends of turns included, which a
    model has to predict as well; `characters` counts those of the text without special tokens.
    """
    if characters <= 0:
        raise ConfigError("the held-out text has no characters: nothing can be evaluated")
    return perplexity(nll_sum / characters)


def ngrams(text: str, n: int) -> list[str]:
    """The character n-grams of a text, in order."""
    return [text[start : start + n] for start in range(len(text) - n + 1)]


def distinct(replies: Sequence[str], n: int = 2) -> float:
    """Distinct-n on characters (arXiv:1510.03055): different n-grams as a share of all, over all replies."""
    found = [gram for reply in replies for gram in ngrams(reply, n)]
    return len(set(found)) / len(found) if found else 0.0


def repetition(replies: Sequence[str], n: int = 4) -> float:
    """The share of replies in which some character n-gram comes more than once."""
    repeating = sum(len(set(grams)) < len(grams) for grams in (ngrams(reply, n) for reply in replies))
    return repeating / len(replies) if replies else 0.0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a model makes of text it has not learned from."""

    loss: float  # nats per labelled token
    tokens: int  # labelled tokens
    characters: int
    perplexity: float
    perplexity_per_character: float

    @classmethod
    def of(cls, nll_sum: float, tokens: int, characters: int) -> HeldOut:
        """From the summed loss of `tokens` labelled tokens that spell `characters` characters."""
        if tokens <= 0:
            raise ConfigError("the held-out text has no tokens to predict: nothing can be evaluated")
        loss = nll_sum / tokens
        return cls(loss, tokens, characters, perplexity(loss), perplexity_per_character(nll_sum, characters))


async def generate_replies(
    engine: Engine, codec: Codec, prompts: Sequence[Dialogue], params: SamplingParams
) -> list[str]:
    """The engine's reply to each dialogue, in order, all of them under way together.

    Replies end at the codec's stop ids where `params` names none, and there is one per dialogue.
    """
    params = replace(params, n=1, stop_ids=params.stop_ids or codec.stop_ids)
    room = codec.window - params.max_new_tokens
    places = asyncio.Semaphore(_AT_ONCE)

    async def reply(dialogue: Dialogue) -> str:
        async with places:
            steps = engine.generate(codec.prompt(dialogue, room), params)
            return codec.decode([token async for step in steps for token in step.ids])

    tasks = [asyncio.ensure_future(reply(dialogue)) for dialogue in prompts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:  # when one fails, nobody waits for the others
            task.cancel()
