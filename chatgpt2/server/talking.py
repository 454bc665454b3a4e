"""Saying something in a session, and having it answered anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from chatgpt2.chat import ChatService, Stored
from chatgpt2.commands import obey, read_order
from chatgpt2.server.faults import Fault, documented
from chatgpt2.server.openai_bodies import EVENTS
from chatgpt2.server.passage import passage_of
from chatgpt2.server.session_bodies import ID, Answer, Id, Said
from chatgpt2.server.session_keys import Meant, check_known, key_of
from chatgpt2.server.shortcuts import Shortcut
from chatgpt2.server.streaming import event, event_stream
from chatgpt2.store import SessionStore


def add_talking(router: APIRouter, service: ChatService, store: SessionStore) -> Shortcut:
    """The routes, and the one that many take."""
    answers: dict[int | str, dict[str, Any]] = {
        200: {
            "model": Answer,
            "description": "The reply; with `stream` as events of the text so far.",
            "content": EVENTS,
        },
        **documented(409),
    }

    async def say(session: Id, said: Said, request: Request) -> Response:
        """Say something and get the reply."""
        if not said.text.strip():
            raise Fault(400, "The message is empty: there is nothing to answer.", "invalid_value", "text")
        key, order = key_of(request, session), read_order(said.text) if said.commands else None
        if order is None:
            texts = service.stream(key, said.text, said.message_id, said.user, existing=True)
            return await _reply(request, texts, said.stream)
        if order.name == "retry":
            return await retry(key, request, said.stream)
        await check_known(store, key)
        note = _note(await obey(order, service, key, user=said.user))
        return await _reply(request, note, said.stream, note=True)

    shortcut = Shortcut(router, "/{session}/messages", say, "said", Said, answers, session=ID)

    @router.post("/{session}/retry", response_model=None, responses=answers)
    async def retry(
        key: Meant, request: Request, stream: Annotated[bool, Query(description="As events.")] = False
    ) -> Response:
        """Answer the last message anew. The old reply stands until the new one is finished."""
        await check_known(store, key)
        if not (await service.history(key)).turns:
            raise Fault(409, "There is nothing to answer again: the conversation is empty.", "empty_session")
        return await _reply(request, service.retry(key), stream)

    return shortcut


async def _reply(
    request: Request, texts: AsyncGenerator[str], stream: bool, *, note: bool = False
) -> Response:
    """The reply as it grows, each event the whole text so far, or all at once."""
    passage_of(request).watch()
    kind = {"note": True} if note else {}
    if stream:
        return await event_stream(texts, lambda text: event({"text": text, **kind}), last=_is_last)
    return JSONResponse({"text": await _last(texts), **kind})


def _is_last(text: str) -> bool:
    return isinstance(text, Stored)


async def _note(text: str) -> AsyncGenerator[str]:
    yield Stored(text)


async def _last(texts: AsyncGenerator[str]) -> str:
    async with aclosing(texts):
        return [text async for text in texts][-1]
