from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from scripted import Memory

from chatgpt2.adapter import Limits, Reply
from chatgpt2.gateway import showing as module
from chatgpt2.gateway.showing import Pace, Preview, showing


def wanted() -> bool:
    return True


async def test_a_seconds_worth_is_shown_at_once_and_the_rest_evenly_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pace, done, sleep = Pace(), list[str](), asyncio.sleep

    async def slept(seconds: float) -> None:
        done.append("sleep")
        await sleep(seconds)

    async def show(number: int) -> None:
        assert await pace.turn(100, wanted)
        done.append(str(number))

    monkeypatch.setattr(asyncio, "sleep", slept)
    began = time.monotonic()
    await asyncio.gather(*(show(number) for number in range(130)))
    assert [each for each in done if each != "sleep"] == [str(number) for number in range(130)]
    assert done.index("sleep") >= 100  # nobody of the first second's waited for a turn
    assert time.monotonic() - began >= 0.29


async def test_who_leaves_or_wants_nothing_any_more_takes_nobodys_turn() -> None:
    pace = Pace()
    for _ in range(2):
        assert await pace.turn(2, wanted)
    waiting = [asyncio.create_task(pace.turn(2, wanted)) for _ in range(20)]
    last = asyncio.create_task(pace.turn(2, wanted))
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    assert not await pace.turn(2, lambda: False)
    async with asyncio.timeout(5):  # twenty turns would be ten seconds
        assert await last


async def test_no_rate_is_a_rate_without_end() -> None:
    pace = Pace()
    async with asyncio.timeout(5):
        for _ in range(1000):
            assert await pace.turn(float("inf"), wanted)


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_bot_that_shows_nothing_says_so_in_another_way(rate: float) -> None:
    with pytest.raises(ValueError, match="shows_per_second"):
        Limits(1000, shows_per_second=rate)


async def test_nobody_is_typing_while_the_text_is_seen_to_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TYPING", 0.05)
    adapter = Memory(Limits(1000, preview="push", preview_interval=0.01, shows_per_second=1000))
    reply = adapter.open_reply(adapter.event(1))

    async def grow(preview: Preview) -> None:
        for length in range(1, 20):
            preview.show("字" * length)
            await asyncio.sleep(0.01)

    async with showing(reply, adapter.limits, Pace()) as preview:
        await grow(preview)
    kinds = [f"{kind} {text}" if kind == "typing" else kind for kind, text in adapter.seen]
    assert kinds[0] == "typing True" and kinds[-1] == "typing False"
    assert kinds.count("typing True") == 1 and kinds.count("preview") > 3


async def test_many_conversations_are_shown_no_more_often_together_than_one_may_be() -> None:
    adapter, pace = Memory(Limits(1000, preview="push", preview_interval=0.01, shows_per_second=20)), Pace()

    async def converse(number: int) -> None:
        async with showing(adapter.open_reply(adapter.event(number)), adapter.limits, pace) as preview:
            for length in range(1, 60):
                preview.show(f"{number}" + "字" * length)
                await asyncio.sleep(0.01)

    began = time.monotonic()
    await asyncio.gather(*(converse(number) for number in range(20)))
    shown = [each for each in adapter.seen if each != ("typing", "False")]
    assert len(shown) <= 20 * (1 + time.monotonic() - began) + 1


async def test_who_shows_no_typing_takes_nobodys_turn() -> None:
    class Mute(Reply):
        """What is not said here does nothing."""

        def __init__(self) -> None:
            self.shown: list[str] = []

        async def preview(self, text_so_far: str) -> None:
            self.shown.append(text_so_far)

        async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
            return ""

    class Counting(Pace):
        turns = 0

        async def turn(self, per_second: float, wanted: Callable[[], bool]) -> bool:
            self.turns += 1
            return await super().turn(per_second, wanted)

    reply, pace = Mute(), Counting()
    async with showing(reply, Limits(1000, preview="push", preview_interval=0.01), pace) as preview:
        preview.show("好")
        async with asyncio.timeout(30):
            while not reply.shown:
                await asyncio.sleep(0.01)
    assert (reply.shown, pace.turns) == (["好"], 1)
