"""A reverse proxy that hands each connection to the next of several servers, and to another where one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


@asynccontextmanager
async def balanced(urls: Sequence[str]) -> AsyncIterator[str]:
    """The proxy's address."""
    places = [urlsplit(url) for url in urls]
    turn, conversations = 0, set[asyncio.Task[None]]()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        nonlocal turn
        for _ in places:
            place = places[turn % len(places)]
            turn += 1
            try:
                return await asyncio.open_connection(place.hostname, place.port)
            except OSError:
                continue
        raise ConnectionError("no server is there")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, there = await connect()
        except ConnectionError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, there), pass_on(back, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(converse(reader, writer))
        conversations.add(task)
        task.add_done_callback(conversations.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
