"""A bot that can only answer where it receives, in two processes: each gateway has a store of its own."""

from __future__ import annotations

import asyncio

import pytest
from fakes.talking import Scripted
from scripted import Memory, gateway_of

from chatgpt2.adapter import Inbound, Limits, Reply, RetryLater

CHATS = 6


class Connected(Memory):
    """Answers over the connection that `run` holds. `opened`: replies that were begun without one."""

    def __init__(self) -> None:
        super().__init__(Limits(1000, receiver_answers=True))
        self.cut = asyncio.Event()
        self.connected = False
        self.opened = 0

    async def run(self) -> None:
        self.running += 1
        self.connected = True
        try:
            await self.cut.wait()
        finally:
            self.connected = False
        raise RetryLater(600, "the connection was cut")

    def open_reply(self, inbound: Inbound) -> Reply:
        self.opened += not self.connected
        if not self.connected:
            self.faults.append(RetryLater(0.01))
        return super().open_reply(inbound)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatgpt2.gateway.supervising._STAND_BY", 0.05)
    monkeypatch.setattr("chatgpt2.gateway.gateway._LOOK", 0.05)
    monkeypatch.setattr("chatgpt2.gateway.gateway._LONGEST_LOOK", 0.05)


async def test_only_the_process_that_receives_takes_conversations_on(url: str) -> None:
    first, second = Connected(), Connected()
    async with gateway_of(url, Scripted(), first) as leading:
        await first.until(lambda: first.connected)
        async with gateway_of(url, Scripted(), second) as standing_by:
            await second.until(lambda: standing_by.report()[0].stage == "standby")
            for number in range(CHATS):
                await first.inbox.submit(first.event(number, chat_id=f"c{number}"))
            await first.until(lambda: len(first.sent) == CHATS)
            await first.until(lambda: not leading.busy)
    assert (second.opened, second.sent, standing_by.tally.answered) == (0, [], 0)


async def test_what_the_one_could_not_send_any_more_is_sent_by_the_next(url: str) -> None:
    first, second = Connected(), Connected()
    async with gateway_of(url, Scripted("好"), first) as leading:
        await first.until(lambda: first.connected)
        async with gateway_of(url, Scripted("不会问到"), second) as next_one:
            await second.until(lambda: next_one.report()[0].stage == "standby")
            first.faults = [RetryLater(0.01)] * 1000  # the connection is dead, which nobody has noticed yet
            await first.inbox.submit(first.event(1))
            await first.until(lambda: len(first.faults) < 990)
            first.cut.set()
            await second.until(lambda: second.sent)
            await first.until(lambda: not leading.busy and not next_one.busy)
            assert await next_one.mailbox.pending() == (0, 0)
    assert (first.sent, second.sent, second.opened) == ([], [("m1", "好")], 0)
    assert (next_one.tally.repeated, leading.tally.dropped) == (0, 0)


async def test_what_came_while_nobody_was_connected_is_answered_by_who_connects(url: str) -> None:
    adapter = Connected()
    adapter.cut.set()
    async with gateway_of(url, Scripted("好"), adapter) as gateway:
        await adapter.until(lambda: gateway.report()[0].stage == "failed")
        await adapter.inbox.submit(adapter.event(1))
        await asyncio.sleep(0.2)
        assert adapter.opened == 0 and not adapter.sent
        adapter.cut.clear()
        gateway.bots[0].start_again()
        await adapter.until(lambda: adapter.sent)
    assert adapter.sent == [("m1", "好")] and adapter.opened == 0
