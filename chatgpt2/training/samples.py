"""What the model says: sample replies during a run, and the figures of its replies at the end."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from transformers import GPT2LMHeadModel

from chatgpt2.codec import Codec
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import SamplingParams
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.evaluation import generate_replies
from chatgpt2.material import Pile
from chatgpt2.textcodec import TextCodec
from chatgpt2.training.watch import Sample

_LONGEST = 64  # tokens of a sample


def prompts_of(held: Pile, codec: Codec, count: int) -> list[Dialogue]:
    """The first utterance of up to `count` dialogues among those held out, each another."""
    found: dict[str, Dialogue] = {}
    for ids in held.first(len(held)):
        if len(found) == count:
            break
        text = codec.decode(ids[1 : ids.index(codec.sep_id)]) if codec.sep_id in ids else ""
        if text:
            found.setdefault(text, Dialogue().say("user", text))
    return list(found.values())


def sample_replies(
    model: Any, codec: Codec, prompts: Sequence[Dialogue], banned: Sequence[int]
) -> list[Sample]:
    """What `model` says to `prompts` with the default sampling and a fixed seed, which leaves the random
    state of the training alone."""
    if not prompts:
        return []
    replies = asyncio.run(_replies(_plain(model), codec, prompts, banned))
    return [Sample(p.turns[-1].text, reply) for p, reply in zip(prompts, replies, strict=True)]


def continuations(
    model: Any, codec: TextCodec, prompts: Sequence[list[int]], banned: Sequence[int]
) -> list[Sample]:
    """How `model` writes on after each of `prompts`, token ids, under the same conditions."""
    if not prompts:
        return []
    longest = min(_LONGEST, max(1, codec.window - max(map(len, prompts))))
    params = SamplingParams(stop_ids=codec.stop_ids, max_new_tokens=longest, seed=1)
    texts = asyncio.run(_continued(_plain(model), codec, prompts, params, banned))
    return [Sample(_line(codec.decode(p)), _line(text)) for p, text in zip(prompts, texts, strict=True)]


def _line(text: str) -> str:
    return " ".join(text.split())


async def _continued(
    model: GPT2LMHeadModel,
    codec: TextCodec,
    prompts: Sequence[list[int]],
    params: SamplingParams,
    banned: Sequence[int],
) -> list[str]:
    engine = PyTorchEngine(model, banned_ids=banned, pad_id=codec.pad_id)

    async def text(prompt: list[int]) -> str:
        return codec.decode([token async for step in engine.generate(prompt, params) for token in step.ids])

    try:
        return list(await asyncio.gather(*map(text, prompts)))
    finally:
        await engine.close()


async def _replies(
    model: GPT2LMHeadModel, codec: Codec, prompts: Sequence[Dialogue], banned: Sequence[int]
) -> list[str]:
    # The one place where the synchronous trainer runs the asynchronous engine.
    engine = PyTorchEngine(model, banned_ids=banned, pad_id=codec.pad_id)
    longest = min(_LONGEST, max(1, codec.window // 2))
    params = SamplingParams(stop_ids=codec.stop_ids, max_new_tokens=longest, seed=1)
    try:
        return await generate_replies(engine, codec, prompts, params)
    finally:
        await engine.close()


def merged(model: Any) -> Any:
    """A model without adapters: a merged copy of a peft model, or the model itself."""
    # The copy is merged, because unmerging in place would not give back the very same weights.
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model


def _plain(model: Any) -> GPT2LMHeadModel:
    found = merged(model)
    assert isinstance(found, GPT2LMHeadModel)
    return found
