"""What every engine is: token ids in, token ids out. No engine ever sees text or a tokenizer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from chatgpt2.errors import ConfigError

Finish = Literal["stop", "length"]
Weights = Literal["fp32", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose the next token.

    temperature         0 takes the most likely token (greedy); 1 samples from the model as it is
    top_k               keep the k most likely tokens; 0 keeps all
    top_p               of these keep the smallest set whose probability reaches p; 1 keeps all
    repetition_penalty  divides positive and multiplies negative logits of tokens seen before (CTRL,
                        arXiv:1909.05858, with the sign respected); 1 is off
    no_repeat_ngram     forbid a token that would complete an n-gram already in the reply; 0 is off
    min_new_tokens      no stop token before this many tokens; 1 means no empty reply
    max_new_tokens      the reply is cut here, with finish "length"
    stop_ids            tokens that end the reply; they are not part of it
    seed                None draws a fresh one for each request
    n                   replies to the same prompt
    """

    temperature: float = 0.8
    top_k: int = 20
    top_p: float = 0.95
    repetition_penalty: float = 1.1
    no_repeat_ngram: int = 0
    min_new_tokens: int = 1
    max_new_tokens: int = 64
    stop_ids: tuple[int, ...] = ()
    seed: int | None = None
    n: int = 1

    def __post_init__(self) -> None:
        for name, good, rule in (
            ("temperature", 0 <= self.temperature <= 10, "between 0 and 10"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", 0 < self.repetition_penalty <= 10, "above 0 and at most 10"),
            ("no_repeat_ngram", self.no_repeat_ngram >= 0, "0 (off) or more"),
            ("min_new_tokens", 0 <= self.min_new_tokens <= self.max_new_tokens, "0 to max_new_tokens"),
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
            ("n", self.n >= 1, "1 or more"),
        ):
            if not good:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be {rule}")


@dataclass(frozen=True, slots=True)
class Step:
    """New tokens of one reply, in order. `finish` is set on the last step of that reply (which may carry
    no ids); `index` tells the replies apart when `SamplingParams.n` > 1."""

    ids: list[int]
    finish: Finish | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to serve a model.

    name     auto (remote where `url` is given, openvino on a CPU where it is installed, else pytorch), openvino,
             pytorch or remote
    weights  precision of the openvino engine's weights
    device   auto, cpu, cuda, cuda:1 …
    threads  CPU threads; None: all cores
    url      of the remote engine's server
    model    its name there; None: the first that the server lists
    key      for that server; never shown
    """

    name: str = "auto"
    weights: Weights = "int8"
    device: str = "auto"
    threads: int | None = None
    url: str | None = None
    model: str | None = None
    key: str | None = field(default=None, repr=False)


class Engine(Protocol):
    """Generates token ids. One engine serves many callers at once."""

    def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncIterator[Step]:
        """Stream one reply (or `params.n`). Closing the iterator frees its place at once.

        Raises EngineError when the prompt is empty or leaves no room in the model's window.
        """
        ...

    async def close(self) -> None:
        """Stop all work and free the memory; waiting callers get an EngineError."""
        ...


@runtime_checkable
class Reusing(Protocol):
    """An engine that tells how much of its prompts it knew from earlier replies."""

    @property
    def reused_tokens(self) -> int:
        """Prompt tokens that were not read again, since the engine's start."""
        ...


@runtime_checkable
class Checkable(Protocol):
    """An engine that can tell whether it would answer, for less than an answer takes."""

    async def check(self) -> None:
        """Raises EngineError when it would not."""
        ...


async def check(engine: Engine) -> None:
    """Raise EngineError when the engine knows that it would not answer."""
    if isinstance(engine, Checkable):
        await engine.check()
