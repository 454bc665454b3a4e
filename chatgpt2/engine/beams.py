"""Beam search, by transformers: token ids in, token ids out. The engines choose token by token and have no beams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from chatgpt2.engine.base import Finish, SamplingParams
from chatgpt2.engine.checking import checked
from chatgpt2.errors import ConfigError


@torch.inference_mode()
def beam_search(
    model: GPT2LMHeadModel,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    beams: int,
    *,
    banned_ids: Sequence[int] = (),
    pad_id: int = 0,
) -> list[tuple[list[int], Finish]]:
    """The likeliest `params.n` replies that `beams` beams find, best first, without their stop ids.

    Of `params` n, lengths, stop ids, repetition penalty and n-gram rule count; nothing is drawn. Raises ConfigError
    when there are fewer beams than replies, PromptError for a prompt that cannot be answered.
    """
    if beams < params.n:
        raise ConfigError(f"--beams {beams}: at least as many as --n {params.n} are needed")
    window, vocabulary = model.config.n_positions, model.lm_head.weight.shape[0]
    prompt = checked(prompt_ids, params, window=window, vocabulary=vocabulary, max_batch=beams)
    generator: Any = model
    ids = torch.tensor([prompt], device=model.device)
    longest = min(params.max_new_tokens, window - len(prompt))
    found = generator.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=beams,
        num_return_sequences=params.n,
        max_new_tokens=longest,
        min_new_tokens=min(params.min_new_tokens, longest),
        repetition_penalty=params.repetition_penalty,
        no_repeat_ngram_size=params.no_repeat_ngram,
        eos_token_id=list(params.stop_ids) or None,
        pad_token_id=pad_id,
        suppress_tokens=list(banned_ids) or None,
    )
    return [_reply(row[len(prompt) :], set(params.stop_ids)) for row in found.tolist()]


def _reply(ids: list[int], stops: set[int]) -> tuple[list[int], Finish]:
    """Up to the stop id; what follows is padding."""
    end = next((place for place, token in enumerate(ids) if token in stops), None)
    return (ids, "length") if end is None else (ids[:end], "stop")
