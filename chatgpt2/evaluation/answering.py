"""What a model says to many dialogues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import Engine, SamplingParams

if TYPE_CHECKING:
    from chatgpt2.codec import Codec


_AT_ONCE = 128  # prompts under way: enough to fill any engine's batch, few enough for any engine's queue


async def generate_replies(
    engine: Engine,
    codec: Codec,
    prompts: Sequence[Dialogue],
    params: SamplingParams,
    *,
    opening: Sequence[Turn] = (),
    answered: Callable[[], None] = lambda: None,
) -> list[str]:
    """The engine's reply to each dialogue, in order, all of them under way together.

    Replies end at the codec's stop ids where `params` names none, and there is one per dialogue. With a seed each
    has one of its own, counted on from it. `opening` is set before every prompt; `answered` is called after each
    reply.
    """
    params = replace(params, n=1, stop_ids=params.stop_ids or codec.stop_ids)
    room = codec.window - params.max_new_tokens
    places = asyncio.Semaphore(_AT_ONCE)

    async def reply(number: int, dialogue: Dialogue) -> str:
        own = params if params.seed is None else replace(params, seed=params.seed + number)
        async with places:
            steps = engine.generate(codec.prompt(dialogue, room, opening), own)
            ids = [token async for step in steps for token in step.ids]
        answered()
        return codec.decode(ids)

    tasks = [asyncio.ensure_future(reply(number, dialogue)) for number, dialogue in enumerate(prompts)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:  # when one fails, nobody waits for the others
            task.cancel()
