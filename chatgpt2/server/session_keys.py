"""Which session a request means, and whose it is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from chatgpt2.errors import NoSuchSession
from chatgpt2.server.session_bodies import Id
from chatgpt2.store import SessionInfo, SessionKey, SessionStore

PLATFORM = "web"


def owner(request: Request) -> str:
    """Whose sessions these are: the label of the key that was given, "" where nobody is asked for one."""
    key = request.scope.get("state", {}).get("key")  # `request.state` is slower
    return key.label if key else ""


def key_of(request: Request, session: str) -> SessionKey:
    """What the store calls the session of this id. Another key's session of the same id would be another one."""
    return SessionKey(PLATFORM, owner(request), session)


async def _meant(session: Id, request: Request) -> SessionKey:
    return key_of(request, session)


Meant = Annotated[SessionKey, Depends(_meant)]


async def known(store: SessionStore, key: SessionKey) -> SessionInfo:
    """The session. Raises NoSuchSession when there is none, or it is another key's."""
    info = await store.info(key)
    if info is None:
        raise _unknown(key)
    return info


async def check_known(store: SessionStore, key: SessionKey) -> None:
    """Raises NoSuchSession as `known` does."""
    if not await store.exists(key):
        raise _unknown(key)


def _unknown(key: SessionKey) -> NoSuchSession:
    return NoSuchSession(f"There is no session {key.chat}.")
