"""Streams of events that begin before their response does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from fastapi.responses import Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from chatgpt2.errors import ChatGPT2Error
from chatgpt2.server.faults import body, fault_of

T = TypeVar("T")

_HEADERS = [(b"cache-control", b"no-cache"), (b"content-type", b"text/event-stream; charset=utf-8")]
_DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % to_json(data)


async def event_stream(
    items: AsyncGenerator[T],
    write: Callable[[T], bytes],
    stack: AsyncExitStack | None = None,
    last: Callable[[T], bool] = lambda item: False,
) -> Response:
    """Each item as a server-sent event. The first is awaited here, so that a request that fails has its status.

    write  makes the event of an item
    stack  is closed when the stream ends, however that happens
    last   tells of an item that no other comes after it: then the end goes out with it

    Raises what `items` raises.
    """
    try:
        return _Events(await anext(items), items, write, stack, last)
    except BaseException:
        await _close(items, stack)
        raise


async def _close(items: AsyncGenerator[Any], stack: AsyncExitStack | None) -> None:
    try:
        await items.aclose()
    finally:
        if stack is not None:
            await stack.aclose()


class _Events(Response):
    """A stream that leaves nothing open, also where it was cut off while the client took nothing."""

    media_type = "text/event-stream"

    def __init__(
        self,
        first: Any,
        others: AsyncGenerator[Any],
        write: Callable[[Any], bytes],
        stack: AsyncExitStack | None,
        last: Callable[[Any], bool],
    ) -> None:
        self.status_code, self.background = 200, None
        self.raw_headers = [*_HEADERS]
        self._first, self._others, self._write, self._stack, self._last = first, others, write, stack, last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._stream(send)
        finally:
            await _close(self._others, self._stack)

    async def _stream(self, send: Send) -> None:
        """Each event goes out when it is there, the end with the last words."""
        write, last, text, end = self._write, self._last, b"", _DONE
        try:
            if not last(self._first):
                await send({"type": "http.response.body", "body": write(self._first), "more_body": True})
                async for each in self._others:
                    if last(each):
                        text = write(each)
                        break
                    await send({"type": "http.response.body", "body": write(each), "more_body": True})
            else:
                text = write(self._first)
        except ChatGPT2Error as error:  # too late for a status
            end = event(body(fault_of(error)))
        await send({"type": "http.response.body", "body": text + end, "more_body": False})
