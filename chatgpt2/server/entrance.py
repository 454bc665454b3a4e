"""Who is let in: asked before anything of a request is read."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Sequence

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from chatgpt2.errors import ChatGPT2Error
from chatgpt2.server.faults import Fault, answer, fault_of

# Where nobody is asked for a key: the pages themselves show nothing of what was said, and the platforms that call
# a bot's webhook prove themselves in their own ways.
OPEN = frozenset({"/", "/admin", "/healthz", "/readyz", "/openapi.json"})
OPEN_FOLDERS = ("/page/", "/bots/")

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:/@\[\]]+)(:[0-9]*)?", re.IGNORECASE)

Guard = Callable[[HTTPConnection], Awaitable[None]]


class Entrance:
    """Middleware that asks each guard in turn; the Fault that one raises is the answer.

    everywhere  asked about each request
    inside      asked about those that are not open to everybody
    """

    def __init__(self, app: ASGIApp, everywhere: Sequence[Guard], inside: Sequence[Guard]) -> None:
        self._app, self._everywhere, self._inside = app, everywhere, inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._ask(HTTPConnection(scope))
            except Fault as fault:
                return await answer(fault)(scope, receive, send)
            except ChatGPT2Error as error:
                return await answer(fault_of(error))(scope, receive, send)
        await self._app(scope, receive, send)

    async def _ask(self, connection: HTTPConnection) -> None:
        path = connection.scope["path"]
        is_open = path in OPEN or path.startswith(OPEN_FOLDERS)
        for guard in (*self._everywhere, *(() if is_open else self._inside)):
            await guard(connection)


class Hosts:
    """Lets in who asks for one of these names; "*" is any."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = {name.lower() for name in names}

    async def __call__(self, connection: HTTPConnection) -> None:
        given = _HOST.fullmatch(connection.headers.get("host", ""))
        if "*" not in self._names and (given is None or given[1].lower() not in self._names):
            raise Fault(400, "The Host header names another server than this one.", "invalid_host")
