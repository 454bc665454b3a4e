"""A server on loopback for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from fakes.talking import Letters

from chatgpt2.chat import BlockedWords, ChatService
from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import CheckpointError
from chatgpt2.gateway import Bot, Gateway
from chatgpt2.server.app import LOOPBACK, create_app
from chatgpt2.server.exchanging import Exchange, Load
from chatgpt2.server.running import address, listen, running
from chatgpt2.serving import Serving
from chatgpt2.store import ApiKeys, Audit, SessionStore


@asynccontextmanager
async def served(
    folder: Path,
    engine: Any,
    *,
    ask_for_keys: bool = False,
    proxies: Sequence[str] = (),
    http: Mapping[str, Any] | None = None,
    load: Load | None = None,
    bots: Callable[[SessionStore], Sequence[Bot]] | None = None,
    blocked: Sequence[str] = (),
    database: str | None = None,
    **parts: Any,
) -> AsyncIterator[str]:
    """The service with this engine; its address. `http` goes to the application, `load` exchanges the model,
    `bots` makes the bots that run beside it, `blocked` are words that are neither answered nor said; `database` is
    another than the file in the folder."""
    serving = Serving(engine, Letters(), SamplingParams(seed=1), name="小智@1", **parts)
    async with await SessionStore.open(database or f"sqlite:///{folder}/talk.db") as store:
        service = ChatService(serving, store, blocked=BlockedWords(blocked))
        with listen("127.0.0.1", 0) as bound:
            keys = ApiKeys(store) if ask_for_keys else None
            exchange = Exchange(service, load or _nothing_else, str(folder / "小智"), Audit(store))
            gateway = Gateway(service, store, bots(store)) if bots else None
            parts = {"exchange": exchange, "gateway": gateway, **(http or {})}
            app = create_app(service, store, LOOPBACK, keys, **parts)
            async with gateway.running(1) if gateway else nullcontext(), running(app, bound, 5, proxies):
                yield address(bound)


async def _nothing_else(source: str | None) -> tuple[str, Serving]:
    raise CheckpointError(f"no model directory {source}")
