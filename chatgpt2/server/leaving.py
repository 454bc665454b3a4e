"""Work that stops when the client leaves, and streams that begin before their response does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from chatgpt2.errors import ChatGPT2Error
from chatgpt2.server.faults import body, fault_of

T = TypeVar("T")

_CLIENT_CLOSED = 499  # nginx's number for a client that left; nobody reads it


class Left(Exception):
    """The client is gone."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of the work, which is stopped when the client leaves. Raises Left then."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    doing, leaving = asyncio.ensure_future(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Left
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


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
        await holding.enter_async_context(aclosing(events))
        first = await unless_gone(request, anext(events))
        return _Events(_written(first, events), holding.pop_all())


class _Events(StreamingResponse):
    """A stream that leaves nothing open, also where it was cut off while the client took nothing."""

    def __init__(self, lines: AsyncIterator[str], stack: AsyncExitStack) -> None:
        super().__init__(lines, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def _written(first: dict[str, Any], events: AsyncGenerator[dict[str, Any]]) -> AsyncGenerator[str]:
    yield event(first)
    try:
        async for each in events:
            yield event(each)
    except ChatGPT2Error as error:  # too late for a status
        yield event(body(fault_of(error)))
        return
    yield "data: [DONE]\n\n"


def event(data: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
