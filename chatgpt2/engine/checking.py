"""What every engine asks of a request before it takes it."""

from __future__ import annotations

from collections.abc import Sequence

from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import EngineError, PromptError


def checked(
    prompt_ids: Sequence[int], params: SamplingParams, *, window: int, vocabulary: int, max_batch: int
) -> list[int]:
    """The prompt, if it can be answered. A bad id must not reach the batch: it would fail everyone.

    Raises PromptError for an empty prompt, one that leaves no room in `window`, an id outside `vocabulary`,
    and for more replies than `max_batch`.
    """
    prompt = [int(i) for i in prompt_ids]
    if not prompt:
        raise PromptError("the prompt is empty: at least one token is needed")
    if len(prompt) >= window:
        raise PromptError(
            f"the prompt has {len(prompt)} tokens, but the model's window has {window} "
            f"and must hold the reply too: at most {window - 1} are possible"
        )
    if wrong := [i for i in prompt if not 0 <= i < vocabulary]:
        raise PromptError(f"id {wrong[0]} of the prompt is outside the model's vocabulary of {vocabulary}")
    if params.n > max_batch:
        raise PromptError(
            f"{params.n} replies were asked for, but the engine makes at most {max_batch} at once"
        )
    return prompt


def check_banned(banned_ids: Sequence[int], vocabulary: int) -> None:
    """Raises EngineError when a banned id is not in the vocabulary, or nothing else is."""
    if wrong := [i for i in banned_ids if not 0 <= i < vocabulary]:
        raise EngineError(f"banned id {wrong[0]} is outside the model's vocabulary of {vocabulary}")
    if len(set(banned_ids)) >= vocabulary:
        raise EngineError("every token of the model is banned: nothing can be generated")
