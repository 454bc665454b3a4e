"""Which session a request means."""

from __future__ import annotations

from chatgpt2.server.faults import Fault
from chatgpt2.store import SessionInfo, SessionKey, SessionStore

PLATFORM = "web"


async def known(store: SessionStore, session: str) -> SessionInfo:
    """The session of this id. Raises Fault (404) when there is none."""
    info = await store.info(key_of(session))
    if info is None:
        raise Fault(404, "There is no such session.", "session_not_found", "session")
    return info


def key_of(session: str) -> SessionKey:
    """The key of the page's session of this id."""
    return SessionKey(PLATFORM, chat=session)
