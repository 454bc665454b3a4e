"""Which session a request means."""

from __future__ import annotations

from chatgpt2.errors import NoSuchSession
from chatgpt2.store import SessionInfo, SessionKey, SessionStore

PLATFORM = "web"


async def known(store: SessionStore, session: str) -> SessionInfo:
    """The session of this id. Raises NoSuchSession when there is none."""
    info = await store.info(key_of(session))
    if info is None:
        raise NoSuchSession(f"There is no session {session}.")
    return info


async def known_key(store: SessionStore, session: str) -> SessionKey:
    """The key of the session of this id. Raises NoSuchSession when there is none."""
    key = key_of(session)
    if not await store.exists(key):
        raise NoSuchSession(f"There is no session {session}.")
    return key


def key_of(session: str) -> SessionKey:
    """The key that the page's session of this id has."""
    return SessionKey(PLATFORM, chat=session)
