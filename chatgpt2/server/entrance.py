"""Who is let in: asked before anything of a request is read."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache

from chatgpt2.server.faults import Fault
from chatgpt2.server.passage import Passage

# Where nobody is asked for a key: the pages themselves show nothing of what was said, and the platforms that call
# a bot's webhook prove themselves in their own ways.
OPEN = frozenset({"/", "/admin", "/healthz", "/readyz", "/openapi.json"})
OPEN_FOLDERS = ("/page/", "/bots/")

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:/@\[\]]+)(:[0-9]*)?", re.IGNORECASE)
_MOST_NAMES = 256  # whose answer is remembered

Guard = Callable[[Passage], Awaitable[None]]
"""Raises Fault, or an error of ours, for a request that is not to be answered."""


def is_open(path: str) -> bool:
    """Whether everybody may ask for this."""
    return path in OPEN or path.startswith(OPEN_FOLDERS)


class Hosts:
    """Lets in who asks for one of these names; "*" is any."""

    def __init__(self, names: Collection[str]) -> None:
        known = {name.lower() for name in names}

        @lru_cache(_MOST_NAMES)
        def is_ours(host: str) -> bool:
            given = _HOST.fullmatch(host)
            return "*" in known or (given is not None and given[1].lower() in known)

        self._is_ours = is_ours

    async def __call__(self, passage: Passage) -> None:
        if not self._is_ours(passage.header(b"host")):
            raise Fault(400, "The Host header names another server than this one.", "invalid_host")
