"""How replies are written down for clients of the OpenAI API: as one object, or as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from fastapi.responses import JSONResponse

from chatgpt2.chat import BlockedWords
from chatgpt2.engine.base import SamplingParams
from chatgpt2.generating import Piece


@dataclass(frozen=True, slots=True)
class Job:
    """A request that is understood: what the engine is asked, and how the answer is written.

    blocked   words that the replies must not hold
    declined  the prompt holds one, and is not answered
    """

    kind: str  # "chat.completion" or "text_completion"
    model: str
    prompt: list[int]
    params: SamplingParams
    stops: list[str]
    usage_last: bool = False
    with_ids: bool = False
    blocked: BlockedWords = field(default_factory=lambda: BlockedWords(()))
    declined: bool = False


async def whole(job: Job, pieces: AsyncGenerator[Piece]) -> JSONResponse:
    texts = [""] * job.params.n
    ids: list[list[int]] = [[] for _ in texts]
    finishes: list[str | None] = [None] * job.params.n
    async for piece in pieces:
        texts[piece.index] += piece.text
        ids[piece.index] += piece.ids
        finishes[piece.index] = piece.finish
    choices = []
    for index, text in enumerate(texts):
        choice: dict[str, Any] = {"index": index, "finish_reason": finishes[index], "logprobs": None}
        if job.kind == "chat.completion":
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        if job.with_ids:
            choice |= {"token_ids": ids[index], "prompt_token_ids": job.prompt}
        choices.append(choice)
    said = {"choices": choices, "usage": _usage(job, sum(map(len, ids)))}
    return JSONResponse(_head(job, job.kind) | said)


def _head(job: Job, kind: str) -> dict[str, Any]:
    prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
    return {
        "id": f"{prefix}-{uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": job.model,
    }


def _usage(job: Job, completion: int) -> dict[str, int]:
    prompt = len(job.prompt)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


async def events(job: Job, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[dict[str, Any]]:
    """The pieces as events, and the usage if it was asked for."""
    chat = job.kind == "chat.completion"
    head = _head(job, "chat.completion.chunk" if chat else job.kind)
    written: set[int] = set()
    tokens = 0
    async for piece in pieces:
        tokens += len(piece.ids)
        if piece.text or piece.finish or job.with_ids:
            yield head | {"choices": [_choice(job, piece, written)]}
    if job.usage_last:
        yield head | {"choices": [], "usage": _usage(job, tokens)}


def _choice(job: Job, piece: Piece, written: set[int]) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": piece.index, "finish_reason": piece.finish, "logprobs": None}
    if job.kind == "chat.completion":
        role = {} if piece.index in written else {"role": "assistant"}
        written.add(piece.index)
        choice["delta"] = {**role, "content": piece.text}
    else:
        choice["text"] = piece.text
    if job.with_ids:
        choice["token_ids"] = piece.ids
    return choice
