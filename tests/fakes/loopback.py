"""Real HTTP on the loopback, for ASGI applications and for the webhooks of an adapter."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette import requests, responses, routing
from starlette.applications import Starlette

from chatgpt2.adapter import Adapter, Request, Response, Route


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve `app` on a free port; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, ws="none", lifespan="off", log_level="critical", timeout_graceful_shutdown=1, access_log=False
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def webhooks(adapter: Adapter) -> Starlette:
    """The routes of an adapter as the server mounts them."""
    return Starlette(routes=[_mounted(route) for route in adapter.routes()])


def _mounted(route: Route) -> routing.Route:
    async def handle(request: requests.Request) -> responses.Response:
        asked = Request(dict(request.query_params), dict(request.headers), await request.body())
        answer: Response = await route.handler(asked)
        return responses.Response(answer.body, answer.status, media_type=answer.content_type)

    return routing.Route(route.path, handle, methods=[route.method])
