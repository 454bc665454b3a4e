"""Two processes on one database, as far as the database can tell: each gateway has a store of its own."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import Any

import pytest
from fakes.talking import Scripted
from scripted import Memory, gateway_of

from chatgpt2.gateway import Gateway

CHATS, EACH = 12, 4


class Echo(Scripted):
    """Says again what it was told last, slowly enough for others to come in between.

    company  says nothing until as many as two have been asked
    """

    def __init__(self, company: set[Echo] | None = None) -> None:
        super().__init__()
        self.company = company

    async def generate(self, prompt_ids: Any, params: Any) -> Any:
        text = "".join(map(chr, prompt_ids)).split("|")[-1]
        if self.company is not None:
            self.company.add(self)
            while len(self.company) < 2:
                await asyncio.sleep(0.002)
        self.replies = [text]
        async for step in super().generate(prompt_ids, params):
            await asyncio.sleep(0.002)
            yield step


async def say_all(adapter: Memory) -> None:
    for each in range(EACH):
        for chat in range(CHATS):
            event = adapter.event(100 * chat + each, f"{chat}:{each}", chat_id=f"c{chat}")
            await adapter.inbox.submit(event)


def check(sent: list[tuple[str, str]], repeated: int) -> None:
    """Every message of every chat once, in order; repeats that were counted apart."""
    doubled = 0
    for chat in range(CHATS):
        texts = [text for _, text in sent if text.split(":")[0] == str(chat)]
        assert [text for text, _ in groupby(texts)] == [f"{chat}:{each}" for each in range(EACH)]
        doubled += len(texts) - EACH
    assert doubled <= repeated


async def test_they_share_the_work_and_keep_the_order(url: str) -> None:
    first, second, company = Memory(), Memory(), set[Echo]()
    second.sent = first.sent
    async with (
        gateway_of(url, Echo(company), first, at_once=3) as one,
        gateway_of(url, Echo(company), second, at_once=3) as two,
    ):
        await say_all(first)
        await first.until(lambda: len(first.sent) == CHATS * EACH)
        await first.until(lambda: not one.busy and not two.busy)
        counted = one.tally.answered, two.tally.answered
    check(first.sent, 0)
    assert sum(counted) == CHATS * EACH and min(counted) > 0


async def test_what_a_dead_one_had_begun_is_done_by_the_other(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, alive = Memory(), Memory()
    alive.sent = dying.sent
    async with gateway_of(url, Echo(), alive, lease=1.0, at_once=2) as survivor:
        async with gateway_of(url, Echo(), dying, lease=1.0, grace=0) as dead:
            await say_all(dying)
            await dying.until(lambda: len(dying.sent) > CHATS)
            _die(dead, monkeypatch)
        await alive.until(lambda: len({text for _, text in alive.sent}) == CHATS * EACH)
        await alive.until(lambda: not survivor.busy)
        assert await survivor.mailbox.pending() == (0, 0)
        check(alive.sent, survivor.tally.repeated)


def _die(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed gives nothing back."""

    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(gateway.mailbox, "release", nothing)
