"""A server on loopback for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fakes.talking import Letters

from chatgpt2.chat import ChatService
from chatgpt2.engine.base import SamplingParams
from chatgpt2.server.app import LOOPBACK, create_app
from chatgpt2.server.running import address, listen, running
from chatgpt2.serving import Serving
from chatgpt2.store import ApiKeys, SessionStore


@asynccontextmanager
async def served(
    folder: Path, engine: Any, *, ask_for_keys: bool = False, **parts: Any
) -> AsyncIterator[str]:
    """The service with this engine; its address."""
    serving = Serving(engine, Letters(), SamplingParams(seed=1), name="小智@1", **parts)
    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
        service = ChatService(serving, store)
        with listen("127.0.0.1", 0) as bound:
            keys = ApiKeys(store) if ask_for_keys else None
            async with running(create_app(service, store, LOOPBACK, keys), bound, 5):
                yield address(bound)
