"""Conversations that the service keeps: made, listed, gone on with, renamed, cleared, deleted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, StrictBool

from chatgpt2.chat import ChatService
from chatgpt2.server.faults import Fault, documented
from chatgpt2.server.leaving import Left, closed, event_stream, unless_gone
from chatgpt2.store import SessionInfo, SessionKey, SessionStore

PLATFORM = "web"
_LONGEST_MESSAGE = 10_000  # characters
_LONGEST_TITLE = 200
_MOST_LISTED = 200

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="A session's id.")]
Title = Annotated[str, Field(max_length=_LONGEST_TITLE)]


class Named(BaseModel):
    """A session's title; null takes it away."""

    title: Title | None = None


class Said(BaseModel):
    """A message. The same `message_id` again gets the same answer again, and is not said twice."""

    text: str = Field(min_length=1, max_length=_LONGEST_MESSAGE)
    message_id: str | None = Field(None, min_length=1, max_length=255)
    stream: StrictBool = False


class SessionCard(BaseModel):
    """A session. `turns` counts what is in the conversation now."""

    id: str
    title: str | None
    created: datetime
    last_active: datetime
    turns: int


class SaidTurn(BaseModel):
    """A turn of the conversation."""

    role: Literal["user", "bot"]
    text: str


class Whole(SessionCard):
    """A session with what was said."""

    said: list[SaidTurn]


class Answer(BaseModel):
    """The reply to a message."""

    text: str


class Taken(BaseModel):
    """What was taken back; null: there was nothing."""

    user: str | None
    bot: str | None


def _card(info: SessionInfo) -> SessionCard:
    return SessionCard(
        id=info.key.chat,
        title=info.title,
        created=info.created,
        last_active=info.last_active,
        turns=info.turns,
    )


def routes(service: ChatService, store: SessionStore) -> APIRouter:
    """The endpoints under /api/sessions."""
    router = APIRouter(prefix="/api/sessions", tags=["sessions"])
    _add_keeping(router, service, store)
    _add_talking(router, service, store)
    return router


async def _known(store: SessionStore, session: str) -> SessionInfo:
    info = await store.info(_key(session))
    if info is None:
        raise Fault(404, "There is no such session.", "session_not_found", "session")
    return info


def _add_keeping(router: APIRouter, service: ChatService, store: SessionStore) -> None:
    @router.post("", status_code=201)
    async def create(named: Named) -> SessionCard:
        """A new session."""
        key = _key(uuid4().hex)
        await store.create(key, named.title)
        return _card(await _known(store, key.chat))

    @router.get("")
    async def list_sessions(limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 50) -> list[SessionCard]:
        """The sessions, the one last spoken in first."""
        return [_card(info) for info in await store.sessions(PLATFORM, limit)]

    @router.get("/{session}")
    async def read(session: Id) -> Whole:
        """A session and what was said in it."""
        info = await _known(store, session)
        turns = (await service.history(info.key)).turns
        said = [SaidTurn(role=turn.role, text=turn.text) for turn in turns]
        return Whole(**_card(info).model_dump(), said=said)

    @router.patch("/{session}")
    async def rename(session: Id, named: Named) -> SessionCard:
        """Give a session another title."""
        await store.rename((await _known(store, session)).key, named.title)
        return _card(await _known(store, session))

    @router.delete("/{session}", status_code=204)
    async def delete(session: Id) -> Response:
        """Delete a session with all that was said in it."""
        await service.delete((await _known(store, session)).key)
        return Response(status_code=204)


def _add_talking(router: APIRouter, service: ChatService, store: SessionStore) -> None:
    answers: dict[int | str, dict[str, Any]] = {
        200: {
            "model": Answer,
            "description": "The reply; with `stream` as events of the text so far.",
            "content": {"text/event-stream": {}},
        },
        **documented(409),
    }

    @router.post("/{session}/messages", response_model=None, responses=answers)
    async def say(session: Id, said: Said, request: Request) -> Response:
        """Say something and get the reply."""
        if not said.text.strip():
            raise Fault(400, "The message is empty: there is nothing to answer.", "invalid_value", "text")
        key = (await _known(store, session)).key
        return await _reply(
            request, service.stream(key, said.text, said.message_id, existing=True), said.stream
        )

    @router.post("/{session}/retry", response_model=None, responses=answers)
    async def retry(
        session: Id, request: Request, stream: Annotated[bool, Query(description="As events.")] = False
    ) -> Response:
        """Answer the last message anew. The old reply stands until the new one is finished."""
        key = (await _known(store, session)).key
        if not (await service.history(key)).turns:
            raise Fault(409, "There is nothing to answer again: the conversation is empty.", "empty_session")
        return await _reply(request, service.retry(key), stream)

    @router.post("/{session}/undo")
    async def undo(session: Id) -> Taken:
        """Take back the last message and its reply."""
        exchange = await service.undo((await _known(store, session)).key)
        return Taken(user=exchange.user, bot=exchange.bot) if exchange else Taken(user=None, bot=None)

    @router.post("/{session}/clear")
    async def clear(session: Id) -> SessionCard:
        """Start over. What was said stays on record, and out of the conversation."""
        await service.reset((await _known(store, session)).key)
        return _card(await _known(store, session))


def _key(session: str) -> SessionKey:
    return SessionKey(PLATFORM, chat=session)


async def _reply(request: Request, texts: AsyncGenerator[str], stream: bool) -> Response:
    """The reply as it grows, each event the whole text so far, or all at once."""
    try:
        if stream:
            return await event_stream(request, _events(texts))
        return JSONResponse({"text": await unless_gone(request, _last(texts))})
    except Left:
        return closed()


async def _events(texts: AsyncGenerator[str]) -> AsyncGenerator[dict[str, Any]]:
    async with aclosing(texts):
        async for text in texts:
            yield {"text": text}


async def _last(texts: AsyncGenerator[str]) -> str:
    async with aclosing(texts):
        return [text async for text in texts][-1]
