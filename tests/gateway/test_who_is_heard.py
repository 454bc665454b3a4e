"""Allow-list, quotas and what is no message: opinions and pictures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes.talking import Scripted
from scripted import Memory, gateway_of

from chatgpt2.gateway import Gateway, Rules
from chatgpt2.store import Feedback, SessionStore


async def think(adapter: Memory, number: int, **more: Any) -> None:
    """Somebody's 👍 for the first answer."""
    about = str(adapter.feedback_ids[0])
    assert await adapter.inbox.submit(adapter.event(number, "up", kind="feedback", about=about, **more))


async def opinions(url: str) -> list[str]:
    async with await SessionStore.open(url) as store:
        return [each.user for each in await Feedback(store).recent(99)]


@pytest.mark.parametrize("how", [{"text": "/stop"}, {"text": "", "kind": "stop"}])
async def test_who_is_not_on_the_list_cannot_stop_what_is_said_to_others(
    sqlite: str, how: dict[str, Any]
) -> None:
    adapter, engine = Memory(), Scripted("很长的话", "还有")
    engine.pause = asyncio.Event()
    group = {"chat_id": "g", "is_group": True}
    async with gateway_of(sqlite, engine, adapter, rules=Rules(notice="", allow=("friend",))) as gateway:
        for number in (1, 2):
            await adapter.inbox.submit(adapter.event(number, user_id="friend", **group))
        await adapter.until(lambda: engine.running)
        await adapter.inbox.submit(adapter.event(3, user_id="stranger", **group, **how))
        await gateway._keep()  # another process would be told of a stop in this way
        engine.pause.set()
        await adapter.until(lambda: {"m1", "m2"} <= {name for name, _ in adapter.sent})
        await adapter.until(lambda: not gateway.busy)
    assert [text for name, text in adapter.sent if name != "m3"] == ["很长的话", "还有"]


@pytest.mark.parametrize("limit", [{"per_minute": 2}, {"per_day": 2}])
async def test_an_opinion_costs_nothing_and_needs_no_quota(url: str, limit: dict[str, int]) -> None:
    adapter = Memory()
    async with gateway_of(url, Scripted("好", "嗯"), adapter, rules=Rules(notice="", **limit)) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: adapter.sent)
        await think(adapter, 10)
        await think(adapter, 11)
        await adapter.inbox.submit(adapter.event(2))  # the second message, and not the fourth
        await adapter.until(lambda: len(adapter.sent) == 2)
        await adapter.inbox.submit(adapter.event(3))  # one too many
        await adapter.until(lambda: len(adapter.sent) == 3)
        await think(adapter, 12, user_id="v")
        await think(adapter, 13)
        await resting(adapter, gateway)
    assert [text for _, text in adapter.sent[:2]] == ["好", "嗯"] and len(adapter.sent) == 3
    assert sorted(await opinions(url)) == ["u", "v"] and gateway.tally.refused == 1


async def test_an_opinion_is_let_into_a_full_conversation_and_takes_nobodys_place(sqlite: str) -> None:
    adapter, engine = Memory(), Scripted("好", "慢")
    async with gateway_of(sqlite, engine, adapter, rules=Rules(notice="", waiting=2)) as gateway:
        await adapter.inbox.submit(adapter.event(1))
        await adapter.until(lambda: adapter.sent)
        engine.pause = asyncio.Event()
        await adapter.inbox.submit(adapter.event(2))
        await think(adapter, 10)
        await adapter.inbox.submit(adapter.event(3))
        await think(adapter, 11)
        engine.pause.set()
        await resting(adapter, gateway)
    assert [name for name, _ in adapter.sent] == ["m1", "m2", "m3"] and gateway.tally.refused == 0


async def test_an_opinion_of_somebody_who_is_not_on_the_list_is_passed_over_in_silence(sqlite: str) -> None:
    adapter = Memory()
    rules = Rules(notice="", allow=("friend",))
    async with gateway_of(sqlite, Scripted("好"), adapter, rules=rules) as gateway:
        group = {"chat_id": "g", "is_group": True}
        await adapter.inbox.submit(adapter.event(1, user_id="friend", **group))
        await adapter.until(lambda: adapter.sent)
        for number in (10, 11):
            await think(adapter, number, user_id="stranger", **group)
        await think(adapter, 12, user_id="friend", **group)
        await resting(adapter, gateway)
    assert adapter.sent == [("m1", "好")] and await opinions(sqlite) == ["friend"]


async def resting(adapter: Memory, gateway: Gateway) -> None:
    """Wait until nothing is left to do, and all that is polite has been said."""
    async with asyncio.timeout(60):
        while gateway.busy or await gateway.mailbox.pending() != (0, 0):
            await asyncio.sleep(0.02)
    for receiver in gateway._receivers.values():
        await receiver.close()
