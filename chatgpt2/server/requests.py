"""What clients of the OpenAI API may send. Unknown fields pass; known ones that cannot be honoured are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)

_MOST_REPLIES = 16
_MOST_STOPS = 4
_LONGEST_STOP = 1000  # characters
_LONGEST_TEXT = 100_000  # characters of one message
_MOST_MESSAGES = 1000
_LONGEST_HISTORY = 300_000  # characters of all messages; the window of such a model holds about a thousand

# Fields that would change the reply in a way that no engine here knows, and the values that ask for nothing.
_NOT_OFFERED: dict[str, tuple[Any, ...]] = {
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "logprobs": (None, False, 0),
    "top_logprobs": (None, 0),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "logit_bias": (None, {}),
    "suffix": (None, ""),
    "echo": (None, False),
}


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 1.0 is a whole one too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_also = BeforeValidator(_whole)
Whole = Annotated[StrictInt, _also]
Count = Annotated[StrictInt, Field(ge=1), _also]
Least = Annotated[StrictInt, Field(ge=0), _also]
Replies = Annotated[StrictInt, Field(ge=1, le=_MOST_REPLIES), _also]
TopK = Annotated[StrictInt, Field(ge=-1, lt=2**31), _also]


Stop = Annotated[str, Field(max_length=_LONGEST_STOP)]


class Sampled(BaseModel):
    """The settings that both kinds of request share. `top_k`, `repetition_penalty` and `min_tokens` are vLLM's.

    Nothing of a request is kept, so `user` and `safety_identifier` have nothing to be kept with.
    """

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=255)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Replies | None = None
    max_tokens: Count | None = None
    min_tokens: Least | None = None
    temperature: float | None = Field(None, ge=0, le=10)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: TopK | None = None
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    seed: Whole | None = None
    stop: Stop | list[Stop] | None = None
    user: str | None = Field(None, max_length=255)
    safety_identifier: str | None = Field(None, max_length=255)

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > _MOST_STOPS:
            raise ValueError(f"at most {_MOST_STOPS} stop strings are possible")
        return stop

    @model_validator(mode="after")
    def _offered(self) -> Sampled:
        given = self.model_extra or {}
        for name, harmless in _NOT_OFFERED.items():
            if name in given and given[name] not in harmless:
                raise ValueError(f"{name} is not offered by this model: leave it out")
        return self

    @field_validator("seed")
    @classmethod
    def _small(cls, seed: int | None) -> int | None:
        return None if seed is None else seed % 2**63  # what every engine takes

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class StreamOptions(BaseModel):
    """`include_usage`: a last event counts the tokens."""

    model_config = ConfigDict(extra="allow")

    include_usage: StrictBool | None = None


class Part(BaseModel):
    """A piece of a message; only text is understood."""

    model_config = ConfigDict(extra="allow")

    type: Literal["text"]
    text: str = Field(max_length=_LONGEST_TEXT)


class Message(BaseModel):
    """One message of a conversation. System messages are passed over: such a model has not learned of any."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=_LONGEST_TEXT)] | list[Part]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)


class ChatRequest(Sampled):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=_MOST_MESSAGES)
    max_completion_tokens: Count | None = None

    @field_validator("messages")
    @classmethod
    def _bounded(cls, messages: list[Message]) -> list[Message]:
        total = sum(len(message.text) for message in messages)
        if total > _LONGEST_HISTORY:
            most = f"at most {_LONGEST_HISTORY} are taken"
            raise ValueError(f"together they have {total} characters, and {most}: leave the oldest out")
        return messages


class CompletionRequest(Sampled):
    """POST /v1/completions. A prompt is text or token ids; ids come back with `return_token_ids`, as with vLLM."""

    prompt: Annotated[str, Field(max_length=_LONGEST_TEXT)] | Annotated[list[Whole], Field(min_length=1)]
    return_token_ids: StrictBool | None = None
    stop_token_ids: list[Whole] | None = None
    ignore_eos: StrictBool | None = None
    logit_bias: dict[str, float] | None = None
    best_of: Literal[1] | None = None
