"""What clients of the OpenAI API get, for the OpenAPI document: answers are written without these models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Finish = Literal["stop", "length", "content_filter"]


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"]
    data: list[ModelCard]


class Usage(BaseModel):
    """Tokens of the prompt, and of all replies to it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Spoken(BaseModel):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str
    refusal: None


class Choice(BaseModel):
    """One of the replies; `content_filter`: it was cut or replaced for a blocked word."""

    index: int
    finish_reason: Finish
    logprobs: None


class ChatChoice(Choice):
    """One of the replies to a conversation."""

    message: Spoken


class TextChoice(Choice):
    """One way in which a text goes on; the ids with `return_token_ids`."""

    text: str
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class Answered(BaseModel):
    """What both kinds of answer share."""

    id: str
    created: int = Field(description="Seconds since 1970.")
    model: str
    usage: Usage


class ChatCompletion(Answered):
    """The replies to a conversation."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class TextCompletion(Answered):
    """How a text goes on."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


def answered(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The good answer of a route, for the document."""
    return {200: {"model": model, "description": "The answer; with `stream` as events.", "content": EVENTS}}


_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
EVENTS: dict[str, Any] = {"text/event-stream": {"schema": _EVENT}}
