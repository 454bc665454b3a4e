"""The kit for adapters' tests finds what is wrong with bad ones."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.platforms import AtTerminal, Watched

from chatgpt2.adapter import Inbound, Inbox, Limits, Reply
from chatgpt2.adapter.testing import checks


class Hanging(Watched):
    async def stop(self) -> None:
        await asyncio.Event().wait()


class Failing(Watched):
    async def stop(self) -> None:
        raise RuntimeError("it is gone already")


class Stubborn(Watched):
    """Its poller takes the end for one more error to survive."""

    async def run(self) -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue


class Retold(Watched):
    """What it hands to the inbox is changed on the way."""

    said: str | None = None

    async def start(self, inbox: Inbox) -> None:
        await super().start(inbox)
        self._inbox, self._next = self, inbox  # type: ignore[assignment]

    async def submit(self, inbound: Inbound) -> bool:
        return await self._next.submit(self.retold(inbound))

    def retold(self, inbound: Inbound) -> Inbound:
        raise NotImplementedError


class Deaf(Retold):
    """It hears its first message again and again."""

    def retold(self, inbound: Inbound) -> Inbound:
        self.said = self.said or inbound.text
        return replace(inbound, text=self.said)


class Short(Watched):
    """It has one send, and loses the end of what is long."""

    limits = Limits(100, sends_per_inbound=1)

    def open_reply(self, inbound: Inbound) -> Reply:
        reply = super().open_reply(inbound)
        send = reply.send

        async def cut(chunk: str, **how: Any) -> str:
            return await send(chunk[:99], **how)

        reply.send = cut  # type: ignore[method-assign]
        return reply


@pytest.mark.parametrize(
    ("kind", "check", "why"),
    [
        (Hanging, checks.it_ends_within_the_grace_period, r"stop\(\) failed, or did not end within 0.2 s"),
        (Failing, checks.it_ends_within_the_grace_period, r"stop\(\) failed"),
        (Stubborn, checks.it_ends_within_the_grace_period, "the adapter did not end within"),
        (Deaf, checks.messages_out_of_order_are_each_answered_once, "people were to get"),
        (Short, checks.answers_are_as_long_as_the_platform_allows, "people were to get"),
    ],
)
async def test_a_bad_adapter_fails_its_check(
    kind: type[Watched], check: Any, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatgpt2.gateway.supervising.STOPPING", 0.2)
    monkeypatch.setattr(checks, "_MARGIN", 1.0)
    with pytest.raises(AssertionError, match=why):
        await check(AtTerminal(kind), tmp_path)


async def test_a_good_adapter_with_one_send_passes(tmp_path: Path) -> None:
    class Single(Watched):
        limits = Limits(100, sends_per_inbound=1)

    await checks.answers_are_as_long_as_the_platform_allows(AtTerminal(Single), tmp_path)
