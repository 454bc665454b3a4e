"""The most used routes: requests that are as they should be go past FastAPI, which takes longer than they need."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatgpt2.errors import ChatGPT2Error
from chatgpt2.server.faults import Fault, answer, fault_of

_JSON = frozenset({b"application/json", b"application/json; charset=utf-8"})


class Shortcut:
    """POST to a path of the router, with a JSON body, answered by a function that takes the `request`, the body as
    `name`, and the parameters of the path. FastAPI has the same route: it documents it, and tells what is wrong with
    a request.

    parameters  the pattern of each one of the path; others are left to FastAPI
    """

    def __init__(
        self,
        router: APIRouter,
        path: str,
        endpoint: Callable[..., Awaitable[Response]],
        name: str,
        body: type[BaseModel],
        responses: dict[int | str, dict[str, Any]],
        **parameters: str,
    ) -> None:
        self.path, self.endpoint, self.name = router.prefix + path, endpoint, name
        groups = {each: f"(?P<{each}>{pattern})" for each, pattern in parameters.items()}
        self.match = re.compile(self.path.format(**groups)).fullmatch
        self.read = body.__pydantic_validator__.validate_json
        router.add_api_route(path, endpoint, methods=["POST"], response_model=None, responses=responses)


class Shortcuts:
    """Middleware before FastAPI. What is not quite as it should be goes to FastAPI as if nothing had read it."""

    def __init__(self, app: ASGIApp, shortcuts: Sequence[Shortcut]) -> None:
        self._app, self._shortcuts = app, tuple(shortcuts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            for shortcut in self._shortcuts:
                if (found := shortcut.match(scope["path"])) is not None:
                    return await self._take(shortcut, found.groupdict(), scope, receive, send)
        await self._app(scope, receive, send)

    async def _take(
        self, shortcut: Shortcut, given: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        if not _is_json(scope):
            return await self._app(scope, receive, send)
        scope["route"] = shortcut  # also of a body that does not come; FastAPI puts its own there
        body = await _whole(receive)
        try:
            given[shortcut.name] = shortcut.read(body)
        except ValidationError:
            return await self._app(scope, _again(body, receive), send)
        try:
            response = await shortcut.endpoint(request=Request(scope, receive), **given)
        except Fault as fault:
            response = answer(fault)
        except ChatGPT2Error as error:
            response = answer(fault_of(error))
        await response(scope, receive, send)


def _is_json(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return value in _JSON
    return False


async def _whole(receive: Receive) -> bytes:
    """All of the body."""
    message = await receive()
    if not message.get("more_body", False):
        only: bytes = message.get("body", b"")
        return only
    parts = [message.get("body", b"")]
    while message.get("more_body", False):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body once more, then what else comes."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return left.pop() if left else await receive()

    return read
