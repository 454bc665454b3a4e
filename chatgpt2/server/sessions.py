"""Conversations that the service keeps: made, listed, read, changed, cleared, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from chatgpt2.chat import ChatService
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import ConfigError
from chatgpt2.server.faults import Fault, documented
from chatgpt2.server.session_bodies import (
    Asking,
    Before,
    Changed,
    Named,
    Opening,
    Opinion,
    SaidTurn,
    SessionCard,
    Settings,
    Taken,
    Whole,
)
from chatgpt2.server.session_keys import PLATFORM, Meant, check_known, key_of, known, owner
from chatgpt2.server.shortcuts import Shortcut
from chatgpt2.server.talking import add_talking
from chatgpt2.store import SessionInfo, SessionKey, SessionStore

_MOST_LISTED = 200


def _card(info: SessionInfo) -> SessionCard:
    return SessionCard(
        id=info.key.chat,
        title=info.title,
        created=info.created,
        last_active=info.last_active,
        turns=info.turns,
    )


def routes(service: ChatService, store: SessionStore) -> tuple[APIRouter, Shortcut]:
    """The endpoints under /api/sessions, and the one that many take."""
    router = APIRouter(prefix="/api/sessions", tags=["sessions"])
    shortcut = add_talking(router, service, store)
    _add_keeping(router, service, store)
    _add_changing(router, service, store)
    return router, shortcut


def _add_keeping(router: APIRouter, service: ChatService, store: SessionStore) -> None:
    @router.post("", status_code=201)
    async def create(named: Named, request: Request) -> SessionCard:
        """A new session."""
        key = key_of(request, uuid4().hex)
        await store.create(key, named.title)
        return _card(await known(store, key))

    @router.get("")
    async def list_sessions(
        request: Request, limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 50, before: Before = None
    ) -> list[SessionCard]:
        """The key's sessions, the one last spoken in first."""
        after = None if before is None else key_of(request, before)
        if after is not None:
            await check_known(store, after)
        return [_card(info) for info in await store.sessions(PLATFORM, limit, after, owner(request))]

    @router.get("/{session}")
    async def read(key: Meant, user: Asking = None) -> Whole:
        """A session and what was said in it; the verdicts are this user's."""
        return await _whole(service, store, await known(store, key), user)

    @router.delete("/{session}", status_code=204)
    async def delete(key: Meant) -> Response:
        """Delete a session with all that was said in it."""
        await check_known(store, key)
        await service.delete(key)
        return Response(status_code=204)


def _add_changing(router: APIRouter, service: ChatService, store: SessionStore) -> None:
    @router.patch("/{session}", responses=documented(409))
    async def change(key: Meant, changed: Changed) -> Whole:
        """Give a session another title, settings or persona."""
        await check_known(store, key)
        await _change(service, store, key, changed)
        return await _whole(service, store, await known(store, key))

    @router.post("/{session}/feedback", status_code=204, responses=documented(409))
    async def feedback(key: Meant, opinion: Opinion) -> Response:
        """Say what one thinks of a reply."""
        await check_known(store, key)
        said = (opinion.verdict, opinion.text)
        if await service.feedback(key, *said, user=opinion.user, position=opinion.turn) is None:
            raise Fault(409, "There is no such reply in the conversation.", "turn_not_found", "turn")
        return Response(status_code=204)

    @router.post("/{session}/undo")
    async def undo(key: Meant) -> Taken:
        """Take back the last message and its reply."""
        await check_known(store, key)
        exchange = await service.undo(key)
        return Taken(user=exchange.user, bot=exchange.bot) if exchange else Taken(user=None, bot=None)

    @router.post("/{session}/clear")
    async def clear(key: Meant) -> SessionCard:
        """Start over. What was said stays on record, and out of the conversation."""
        await check_known(store, key)
        await service.reset(key)
        return _card(await known(store, key))


async def _whole(
    service: ChatService, store: SessionStore, info: SessionInfo, user: str | None = None
) -> Whole:
    settings, persona = await store.own(info.key)
    verdicts = await service.verdicts(info.key, user)
    said = [
        SaidTurn(id=turn.position, role=turn.role, text=turn.text, verdict=verdicts.get(turn.position))
        for turn in await store.record(info.key)
        if turn.removed is None
    ]
    own = None
    if persona is not None:
        own = [
            Opening(user=user.text, bot=bot.text)
            for user, bot in zip(persona[::2], persona[1::2], strict=True)
        ]
    return Whole(**_card(info).model_dump(), said=said, settings=Settings(**settings), persona=own)


async def _change(service: ChatService, store: SessionStore, key: SessionKey, changed: Changed) -> None:
    """What the model cannot take is refused before anything is changed, or the title, which it need not know."""
    given, settings, persona = changed.model_fields_set, changed.settings or Settings(), changed.persona
    with _refused("settings"):
        if "settings" in given:
            await service.replace_settings(key, settings.model_dump(exclude_none=True))
    with _refused("persona"):
        if "persona" in given:
            texts = None if persona is None else [text for each in persona for text in (each.user, each.bot)]
            await service.set_persona(key, None if texts is None else Dialogue.of(texts).turns)
    if "title" in given:
        await store.rename(key, changed.title)


@contextmanager
def _refused(field: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise Fault(409, str(error), "model_refused", field) from error
