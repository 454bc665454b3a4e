"""What a lease that ran out must not lead to: the same words twice."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fakes.talking import Scripted
from scripted import Memory, Way, gateway_of

from chatgpt2.adapter import Inbound, Limits, Reply, RetryLater
from chatgpt2.store import Mailbox, SessionStore

LEASE = 0.2


class Standstill(Way):
    """While it sends nothing else on the machine moves, for longer than the lease lasts."""

    async def send(self, chunk: str, **how: Any) -> str:
        time.sleep(2 * LEASE)
        return await super().send(chunk, **how)


class Slow(Memory):
    def open_reply(self, inbound: Inbound) -> Reply:
        return Standstill(self, inbound)


async def test_a_process_that_stood_still_goes_on_and_sends_nothing_twice(sqlite: str) -> None:
    adapter = Slow(Limits(16))
    async with gateway_of(sqlite, Scripted("一二三四五六七八九十。" * 3), adapter, lease=LEASE) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: len(adapter.sent) >= 3 and not gateway.busy)
        assert gateway.tally.repeated == 0
    assert [text for _, text in adapter.sent] == ["一二三四五六七八九十。"] * 3


async def test_who_was_overtaken_while_waiting_sends_no_more(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = Memory()
    adapter.faults = [RetryLater(3 * LEASE)]
    async with await SessionStore.open(url) as store, gateway_of(url, Scripted("好"), adapter) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: gateway.tally.retried)
        other = Mailbox(store)
        monkeypatch.setattr(gateway.mailbox, "renew", _nothing)  # the lease runs out, and nobody has noticed
        await gateway.mailbox.release()
        [(queue, chunks)] = await other.claim([("memory", "me")], 1, 60, lambda *_: 1)
        await adapter.until(lambda: not gateway.busy)
        assert adapter.sent == [] and isinstance(chunks, list) and not chunks[0].begun
        assert await other.renew([queue], 60)
        monkeypatch.undo()


async def _nothing(*_: object) -> dict[int, int | None]:
    await asyncio.sleep(0)
    return {}
