"""Run the application until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import uvicorn
from fastapi import FastAPI

from chatgpt2.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ConfigError when the address cannot be had."""
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as undo:
            bound = undo.enter_context(socket.socket(family, kind, proto))
            # On Windows SO_REUSEADDR would share the port with a server that has it already.
            option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
            bound.bind(place)
            undo.pop_all()
    except OSError as error:
        what = f"cannot listen on {host}, port {port} ({error.strerror or error})"
        raise ConfigError(f"{what}: choose another with --port or --host") from error
    return bound


def address(bound: socket.socket) -> str:
    """What a browser calls a socket of ours."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def running(app: FastAPI, bound: socket.socket, grace: int) -> AsyncIterator[asyncio.Task[None]]:
    """Serve while the context is entered; the task ends when SIGINT or SIGTERM has ended the server.

    At the end no connection is taken any more, and running replies have `grace` seconds.
    """
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=grace, lifespan="off"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    try:
        yield task
    finally:
        server.should_exit = True
        await task
