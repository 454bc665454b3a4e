"""What /api/sessions takes and gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt

_LONGEST_MESSAGE = 10_000  # characters
_LONGEST_TITLE = 200
_LONGEST_PERSONA = 20  # exchanges
_LONGEST_OPINION = 2_000
_LONGEST_USER = 255
_LARGEST_SEED = 2**53 - 1  # what JSON carries exactly everywhere

ID = "[0-9a-f]{32}"
Id = Annotated[str, Path(pattern=f"^{ID}$", description="A session's id.")]
Before = Annotated[
    str | None,
    Query(pattern=f"^{ID}$", description="The id of the last one known: list those that come after it."),
]
User = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_LONGEST_USER,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Who of the key's people it is; null: the one person of a key that has no others.",
    ),
]
Asking = Annotated[User | None, Query()]
Title = Annotated[str, Field(max_length=_LONGEST_TITLE)]
Spoken = Annotated[str, Field(min_length=1, max_length=_LONGEST_MESSAGE, pattern=r"[^\s\x00]")]


class Opening(BaseModel):
    """A question and its answer that are set before every prompt."""

    user: Spoken
    bot: Spoken


class Settings(BaseModel):
    """How replies are chosen; what is null is as the model has it."""

    model_config = ConfigDict(extra="forbid")

    temperature: Annotated[StrictFloat, Field(ge=0, le=10)] | None = None
    top_k: Annotated[StrictInt, Field(ge=0, le=2**31)] | None = None
    top_p: Annotated[StrictFloat, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[StrictFloat, Field(gt=0, le=10)] | None = None
    no_repeat_ngram: Annotated[StrictInt, Field(ge=0, le=2**31)] | None = None
    max_new_tokens: Annotated[StrictInt, Field(ge=1, le=2**31)] | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=_LARGEST_SEED)] | None = None


class Named(BaseModel):
    """A session's title; null takes it away."""

    title: Title | None = None


class Changed(Named):
    """What is to be different; what is not given stays. null: back to the default.

    `settings` replace all that the session had; of `persona` [] is none at all.
    """

    settings: Settings | None = None
    persona: Annotated[list[Opening], Field(max_length=_LONGEST_PERSONA)] | None = None


class Opinion(BaseModel):
    """What `user` thinks of a reply. With neither verdict nor text it is taken back; else what is null stays."""

    turn: int = Field(ge=0, le=2**31 - 1, description="The id of the reply.")
    verdict: Literal["up", "down"] | None = None
    text: str | None = Field(None, max_length=_LONGEST_OPINION)
    user: User | None = None


class Said(BaseModel):
    """A message. The same `message_id` again gets the same answer again, and is not said twice.

    With `commands` a text such as /help or /重置 is done, not answered; its result is a note. `user` is who says it:
    theirs are /optout and what `chatgpt2 db export` and `db erase` find of them.
    """

    text: str = Field(min_length=1, max_length=_LONGEST_MESSAGE)
    message_id: str | None = Field(None, min_length=1, max_length=255)
    stream: StrictBool = False
    commands: StrictBool = False
    user: User | None = None


class SessionCard(BaseModel):
    """A session. `turns` counts what is in the conversation now."""

    id: str
    title: str | None
    created: datetime
    last_active: datetime
    turns: int


class SaidTurn(BaseModel):
    """A turn of the conversation; `id` is its own within the session."""

    id: int
    role: Literal["user", "bot"]
    text: str
    verdict: Literal["up", "down"] | None = None


class Whole(SessionCard):
    """A session with what was said. `settings` and `persona` are its own; a persona that is null is the model's."""

    said: list[SaidTurn]
    settings: Settings
    persona: list[Opening] | None


class Answer(BaseModel):
    """The reply to a message. `note`: it is not the model's, but says what a command did."""

    text: str
    note: bool = False


class Taken(BaseModel):
    """What was taken back; null: there was nothing."""

    user: str | None
    bot: str | None
