"""The OpenAI-compatible endpoints: models, chat completions, completions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from chatgpt2.chat import BlockedWords
from chatgpt2.chat.replying import vary
from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import SamplingParams
from chatgpt2.generating import Piece, generate
from chatgpt2.server.answers import Job, events, whole
from chatgpt2.server.faults import Fault
from chatgpt2.server.openai_bodies import ChatCompletion, ModelCard, ModelList, TextCompletion, answered
from chatgpt2.server.passage import passage_of
from chatgpt2.server.requests import ChatRequest, CompletionRequest, Message, Sampled
from chatgpt2.server.shortcuts import Shortcut
from chatgpt2.server.streaming import event, event_stream
from chatgpt2.server.watching import declined, watched
from chatgpt2.serving import Exchangeable, Serving

Asked = TypeVar("Asked", bound=Sampled)


def name_of(serving: Serving) -> str:
    """What clients call the model: its name without the fingerprint of its training."""
    return (serving.name or "chatgpt2").split("@")[0]


def routes(models: Exchangeable, blocked: BlockedWords) -> tuple[APIRouter, Shortcut]:
    """The endpoints under /v1, served by the model that answers at the time, and the one that many take.
    `blocked`: neither answered nor said."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    began = int(time.time())

    def card(serving: Serving) -> dict[str, Any]:
        return {"id": name_of(serving), "object": "model", "created": began, "owned_by": "chatgpt2"}

    @router.get("/models", response_model=None, responses={200: {"model": ModelList}})
    async def list_models() -> JSONResponse:
        """The model that is served."""
        return JSONResponse({"object": "list", "data": [card(models.current)]})

    @router.get("/models/{model:path}", response_model=None, responses={200: {"model": ModelCard}})
    async def read_model(model: str) -> JSONResponse:
        """The model, if it is served under this name."""
        _check_name(models.current, model)
        return JSONResponse(card(models.current))

    async def chat_completions(asked: ChatRequest, request: Request) -> Response:
        """The assistant's next message."""
        return await _respond(models, asked, request, _chat_job, blocked)

    answers = answered(ChatCompletion)
    shortcut = Shortcut(router, "/chat/completions", chat_completions, "asked", ChatRequest, answers)

    @router.post("/completions", response_model=None, responses=answered(TextCompletion))
    async def completions(asked: CompletionRequest, request: Request) -> Response:
        """How a text, or a row of token ids, goes on."""
        return await _respond(models, asked, request, _completion_job, blocked)

    return router, shortcut


def _check_name(serving: Serving, model: str) -> None:
    if model not in (name_of(serving), serving.name):
        raise Fault(
            404,
            f"The model {model!r} is not served here: it is {name_of(serving)!r}.",
            "model_not_found",
            "model",
        )


def _params(asked: Sampled, serving: Serving, limit: int | None) -> SamplingParams:
    """The settings of a request over those of the model. More tokens than half the window would leave no history."""
    given = asked.model_dump(
        include={"temperature", "top_p", "repetition_penalty", "seed", "n"}, exclude_none=True
    )
    if asked.top_k is not None:
        given["top_k"] = max(asked.top_k, 0)  # vLLM: -1 keeps all
    defaults = serving.defaults
    most = min(limit or defaults.max_new_tokens, max(1, serving.codec.window // 2))
    least = min(asked.min_tokens if asked.min_tokens is not None else defaults.min_new_tokens, most)
    return replace(
        defaults,
        **given,
        max_new_tokens=most,
        min_new_tokens=least,
        stop_ids=defaults.stop_ids or serving.codec.stop_ids,
    )


def _chat_job(asked: ChatRequest, serving: Serving, blocked: BlockedWords) -> Job:
    dialogue = _dialogue(asked.messages)
    declined = blocked.hit(dialogue.turns[-1].text)
    params = _params(asked, serving, asked.max_completion_tokens or asked.max_tokens)
    prompt = serving.codec.prompt(_clean(dialogue, blocked), serving.room(params), serving.opening)
    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    model = name_of(serving)
    return Job(
        "chat.completion", model, prompt, params, asked.stops, usage, blocked=blocked, declined=declined
    )


def _dialogue(messages: list[Message]) -> Dialogue:
    """What was said; messages of one speaker in a row are one turn, as in training."""
    dialogue = Dialogue()
    for message in messages:
        if message.role in ("system", "developer") or not message.text.strip():
            continue
        role, text = ("user" if message.role == "user" else "bot"), message.text.strip()
        if dialogue.turns and dialogue.turns[-1].role == role:
            text = f"{dialogue.turns[-1].text}\n{text}"
            dialogue = Dialogue(dialogue.turns[:-1])
        dialogue = dialogue.say(role, text)  # type: ignore[arg-type]
    if not dialogue.turns or dialogue.turns[-1].role != "user":
        raise Fault(400, "The last message must be the user's, and not empty.", "invalid_value", "messages")
    return dialogue


def _clean(dialogue: Dialogue, blocked: BlockedWords) -> Dialogue:
    """Without the earlier exchanges that hold a blocked word: as in a session, the model does not see them."""
    *earlier, last = dialogue.turns
    kept: list[Turn] = []
    after_hit = False
    for turn in earlier:
        hit = blocked.hit(turn.text)
        if turn.role == "bot" and hit and kept:
            kept.pop()
        elif not hit and not (turn.role == "bot" and after_hit):
            kept.append(turn)
        after_hit = turn.role == "user" and hit
    return Dialogue((*kept, last))


def _completion_job(asked: CompletionRequest, serving: Serving, blocked: BlockedWords) -> Job:
    params = _params(asked, serving, asked.max_tokens or 16)  # OpenAI's default here
    prompt = serving.codec.begin(asked.prompt) if isinstance(asked.prompt, str) else asked.prompt
    if asked.max_tokens:  # the ids are the client's affair: only the window limits them
        params = replace(params, max_new_tokens=min(asked.max_tokens, serving.codec.window))
    if asked.stop_token_ids is not None:
        params = replace(params, stop_ids=tuple(asked.stop_token_ids))
    if asked.ignore_eos:
        params = replace(params, stop_ids=())
    if not _needless(asked.logit_bias or {}, serving):
        what = "logit_bias can only forbid (-100) what this model never says"
        raise Fault(400, what, "invalid_value", "logit_bias")
    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    with_ids = bool(asked.return_token_ids)
    job = Job("text_completion", name_of(serving), prompt, params, asked.stops, usage, with_ids)
    if with_ids or not isinstance(asked.prompt, str):  # another chatgpt2, which watches its own users
        return job
    return replace(job, blocked=blocked, declined=blocked.hit(asked.prompt))


def _needless(bias: dict[str, float], serving: Serving) -> bool:
    """Whether the bias asks for nothing but what is so anyway, as another chatgpt2 does."""
    banned, entries = set(serving.codec.banned_ids), len(serving.codec.vocabulary)
    ids = [int(name) if name.isdecimal() else 0 for name in bias]
    return all(value <= -100 for value in bias.values()) and all(i in banned or i >= entries for i in ids)


def _pieces(serving: Serving, job: Job, growing: bool) -> AsyncGenerator[Piece]:
    if job.declined:
        return declined(job.params.n)
    if not len(job.blocked):
        return generate(serving, job.prompt, job.params, job.stops)

    def ask(attempt: int, count: int) -> AsyncGenerator[Piece]:
        params = replace(vary(job.params, attempt), n=count)
        return generate(serving, job.prompt, params, job.stops)

    return watched(ask, job.params.n, job.blocked, growing)


async def _respond(
    models: Exchangeable,
    asked: Asked,
    request: Request,
    job_of: Callable[[Asked, Serving, BlockedWords], Job],
    blocked: BlockedWords,
) -> Response:
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(models.lease())
        _check_name(serving, asked.model)
        job = job_of(asked, serving, blocked)
        pieces = _pieces(serving, job, growing=bool(asked.stream))
        await stack.enter_async_context(aclosing(pieces))
        passage_of(request).watch()
        if asked.stream:
            return await event_stream(events(job, pieces), event, stack.pop_all())
        return await whole(job, pieces)
