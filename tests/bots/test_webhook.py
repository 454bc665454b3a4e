from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.callback import SECRET, Callback

from chatgpt2.adapter import (
    Adapter,
    AdapterError,
    Blocked,
    Inbound,
    Rejected,
    Request,
    RetryLater,
    Services,
    WindowClosed,
)
from chatgpt2.adapter.testing import CHECKS
from chatgpt2.bots.webhook import build, sign
from chatgpt2.errors import ConfigError
from chatgpt2.store import AdapterState, SessionStore


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_contract_of_adapters(check: Any, tmp_path: Path) -> None:
    asyncio.run(check(Callback(), tmp_path))


class Kept:
    """An inbox that remembers."""

    def __init__(self) -> None:
        self.events: list[Inbound] = []

    async def submit(self, inbound: Inbound) -> bool:
        self.events.append(inbound)
        return True


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store, httpx.AsyncClient() as http:
        yield Services(http, AdapterState(store, "hook"), time.time, logging.getLogger("hook"))


async def started(callback: Callback, services: Services) -> tuple[Adapter, Kept]:
    adapter, kept = callback.build(services), Kept()
    await adapter.start(kept)
    return adapter, kept


async def post(adapter: Adapter, body: bytes, signature: str | None = None) -> int:
    [route] = adapter.routes()
    signature = sign(body, SECRET) if signature is None else signature
    return (await route.handler(Request({}, {"x-signature": signature}, body))).status


async def test_only_signed_messages_are_taken(services: Services) -> None:
    adapter, kept = await started(Callback(), services)
    body = json.dumps({"id": 7, "chat": "c", "user": "u", "text": "你好", "sent": 5, "thread": "t"}).encode()
    assert await post(adapter, body) == 200
    for forged in ("", "é", sign(body, "another"), sign(b"another", SECRET)):
        assert await post(adapter, body, forged) == 403
    assert kept.events == [Inbound("webhook", "default", "c", "u", "7", "你好", sent_at=5.0, thread_id="t")]
    assert adapter.health().last_contact is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id": null, "chat": "c", "user": "u"}',
        b'{"id":1,"chat":2,"user":3,"kind":"x"}',
        b"\xff",
    ],
)
async def test_what_is_no_message_is_refused(services: Services, body: bytes) -> None:
    adapter, kept = await started(Callback(), services)
    assert await post(adapter, body) == 400 and not kept.events


async def test_a_message_that_is_too_large_is_refused(services: Services) -> None:
    adapter, _ = await started(Callback(), services)
    assert await post(adapter, b" " * (65 << 10)) == 413


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (429, RetryLater),
        (503, RetryLater),
        (422, Rejected),
        (404, Blocked),
        (410, WindowClosed),
        (500, AdapterError),
    ],
)
async def test_what_the_callback_says_is_understood(
    services: Services, status: int, raised: type[Exception]
) -> None:
    callback = Callback()
    adapter, _ = await started(callback, services)
    callback.statuses = [status]
    reply = adapter.open_reply(Inbound("webhook", "default", "c", "u", "7", "你好"))
    with pytest.raises(raised) as told:
        await reply.send("好", index=0, final=True, feedback_id="f")
    assert told.type is raised
    assert await reply.send("好", index=0, final=True, feedback_id="f") == "1"
    assert callback.got[0] == {
        **{"id": "7:0", "chat": "c", "thread": "", "text": "好"},
        **{"index": 0, "final": True, "feedback_id": "f"},
    }


async def test_settings_are_needed(services: Services) -> None:
    with pytest.raises(ConfigError, match="callback_url is missing"):
        build({"secret": "x"}, services)
