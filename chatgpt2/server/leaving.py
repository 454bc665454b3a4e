"""Work that stops when the client leaves, and streams that begin before their response does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any, Self, TypeVar

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from chatgpt2.errors import ChatGPT2Error
from chatgpt2.server.faults import body, fault_of

T = TypeVar("T")

_CLIENT_CLOSED = 499  # nginx's number for a client that left; nobody reads it


class Left(Exception):
    """The client is gone."""


class Presence:
    """A context that is left with Left when the client is gone: what is being done in it is cancelled."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._until = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._until.__aenter__()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.stop()
        try:
            await self._until.__aexit__(kind, error, trace)
        except TimeoutError:
            raise Left from None

    def stop(self) -> None:
        """Watch no more: once the answer is complete the client may well leave."""
        self._watching.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._until.reschedule(asyncio.get_running_loop().time())


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of the work, which is stopped when the client leaves. Raises Left then."""
    async with Presence(request):
        return await work


def closed() -> Response:
    """What nobody reads."""
    return Response(status_code=_CLIENT_CLOSED)


async def event_stream(
    request: Request, events: AsyncGenerator[dict[str, Any]], stack: AsyncExitStack | None = None
) -> Response:
    """Server-sent events. The first is awaited here, so that a request that fails has its status.

    `stack` is closed when the stream ends, however that happens. Raises Left and whatever `events` raises.
    """
    async with AsyncExitStack() as holding:
        if stack is not None:
            await holding.enter_async_context(stack)
        present = await holding.enter_async_context(Presence(request))
        await holding.enter_async_context(aclosing(events))
        return _Events(await anext(events), events, present, holding.pop_all())


class _Events(Response):
    """A stream that leaves nothing open, also where it was cut off while the client took nothing."""

    media_type = "text/event-stream"

    def __init__(
        self,
        first: dict[str, Any],
        others: AsyncGenerator[dict[str, Any]],
        present: Presence,
        stack: AsyncExitStack,
    ) -> None:
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-cache"})
        self._first, self._others, self._present, self._stack = first, others, present, stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Left):
            async with self._stack:
                await self._stream(send)

    async def _stream(self, send: Send) -> None:
        """Each event goes out when it is there, the end with the last words."""

        async def write(text: str, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await write(event(self._first))
        last = "data: [DONE]\n\n"
        try:
            async for each in self._others:
                await write(event(each))
        except ChatGPT2Error as error:  # too late for a status
            last = event(body(fault_of(error)))
        self._present.stop()
        await write(last, more=False)


def event(data: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
