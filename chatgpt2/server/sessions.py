"""Conversations that the service keeps: made, listed, read, changed, cleared, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query
from fastapi.responses import Response

from chatgpt2.chat import ChatService
from chatgpt2.dialogue import Dialogue
from chatgpt2.errors import ConfigError
from chatgpt2.server.faults import Fault, documented
from chatgpt2.server.session_bodies import (
    Before,
    Changed,
    Id,
    Named,
    Opening,
    Opinion,
    SaidTurn,
    SessionCard,
    Settings,
    Taken,
    Whole,
)
from chatgpt2.server.session_keys import PLATFORM, key_of, known, known_key
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


def routes(service: ChatService, store: SessionStore) -> APIRouter:
    """The endpoints under /api/sessions."""
    router = APIRouter(prefix="/api/sessions", tags=["sessions"])
    add_talking(router, service, store)  # first: routes are tried in this order
    _add_keeping(router, service, store)
    _add_changing(router, service, store)
    return router


def _add_keeping(router: APIRouter, service: ChatService, store: SessionStore) -> None:
    @router.post("", status_code=201)
    async def create(named: Named) -> SessionCard:
        """A new session."""
        key = key_of(uuid4().hex)
        await store.create(key, named.title)
        return _card(await known(store, key.chat))

    @router.get("")
    async def list_sessions(
        limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 50, before: Before = None
    ) -> list[SessionCard]:
        """The sessions, the one last spoken in first."""
        after = None if before is None else await known_key(store, before)
        return [_card(info) for info in await store.sessions(PLATFORM, limit, after)]

    @router.get("/{session}")
    async def read(session: Id) -> Whole:
        """A session and what was said in it."""
        return await _whole(service, store, await known(store, session))

    @router.patch("/{session}", responses=documented(409))
    async def change(session: Id, changed: Changed) -> Whole:
        """Give a session another title, settings or persona."""
        key = await known_key(store, session)
        await _change(service, store, key, changed)
        return await _whole(service, store, await known(store, session))

    @router.post("/{session}/feedback", status_code=204, responses=documented(409))
    async def feedback(session: Id, opinion: Opinion) -> Response:
        """Say what one thinks of a reply."""
        key = await known_key(store, session)
        if await service.feedback(key, opinion.verdict, opinion.text, position=opinion.turn) is None:
            raise Fault(409, "There is no such reply in the conversation.", "turn_not_found", "turn")
        return Response(status_code=204)

    @router.delete("/{session}", status_code=204)
    async def delete(session: Id) -> Response:
        """Delete a session with all that was said in it."""
        await service.delete(await known_key(store, session))
        return Response(status_code=204)


def _add_changing(router: APIRouter, service: ChatService, store: SessionStore) -> None:
    @router.post("/{session}/undo")
    async def undo(session: Id) -> Taken:
        """Take back the last message and its reply."""
        exchange = await service.undo(await known_key(store, session))
        return Taken(user=exchange.user, bot=exchange.bot) if exchange else Taken(user=None, bot=None)

    @router.post("/{session}/clear")
    async def clear(session: Id) -> SessionCard:
        """Start over. What was said stays on record, and out of the conversation."""
        await service.reset(await known_key(store, session))
        return _card(await known(store, session))


async def _whole(service: ChatService, store: SessionStore, info: SessionInfo) -> Whole:
    settings, persona = await store.own(info.key)
    verdicts = await service.verdicts(info.key)
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
