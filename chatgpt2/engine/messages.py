"""What the openvino engine and its process say to each other, pickled, over a pipe each way.

The engine sends a Setup and then lists of Add and Drop as callers come and go. The process answers a Setup with an
empty list when it is ready, and steps with lists of Said, or with a Failure, after which it ends. It gathers the
tokens of some steps before it says them; a Nudge has it say what it has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chatgpt2.engine.base import Finish, SamplingParams


class Setup(NamedTuple):
    """The model in `folder`, and how much of it runs at once (see OpenVinoEngine)."""

    folder: str
    window: int
    max_batch: int
    prefix_tokens: int
    prompt_tokens_per_step: int
    properties: dict[str, Any]


class Add(NamedTuple):
    """One more reply, of at most `limit` tokens; `reply` names it from now on."""

    reply: int
    prompt: list[int]
    params: SamplingParams
    limit: int
    seed: int


class Drop(NamedTuple):
    """Nobody wants this reply any more."""

    reply: int


class Nudge(NamedTuple):
    """Somebody waits to be taken in, or has left: say at once what there is to say."""


class Said(NamedTuple):
    """The tokens that a step gave a reply."""

    reply: int
    ids: list[int]
    finish: Finish | None


class Failure(NamedTuple):
    """Why the process ends."""

    why: str


Command = Add | Drop | Nudge
Packet = list[Said] | Failure
