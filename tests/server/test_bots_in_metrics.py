"""How bots are, for the machines that watch them: /readyz and /metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.talking import Scripted
from prometheus_client.parser import text_string_to_metric_families
from serving import served

from chatgpt2.adapter import Adapter, AdapterError, Health, Limits
from chatgpt2.gateway import Bot, Rules
from chatgpt2.store import SessionStore


class Owl(Adapter):
    """Polls, and has heard nothing for ten minutes."""

    name, account, limits = "owl", "barn", Limits(100)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def health(self) -> Health:
        return Health(time.time() - 600, silence=90)


class Jay(Adapter):
    """Breaks down once, then polls."""

    name, account, limits = "jay", "oak", Limits(100)
    runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise AdapterError("the nest fell down")
        await asyncio.Event().wait()

    def health(self) -> Health:
        return Health(time.time(), silence=90)


class Hen(Adapter):
    """Is well, and is called."""

    name, account, limits = "hen", "yard", Limits(100)


def birds(store: SessionStore) -> Sequence[Bot]:
    return [Bot(each.name, each, Rules()) for each in (Owl(), Jay(), Hen())]


async def until(what: Callable[[], Any]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await what()):
            await asyncio.sleep(0.02)
    return found


async def test_a_deaf_bot_and_one_that_broke_down_are_told_apart_from_a_sound_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatgpt2.gateway.supervising._FIRST_PAUSE", 0.01)
    async with served(tmp_path, Scripted(), bots=birds) as url, httpx.AsyncClient(base_url=url) as http:

        async def settled() -> Any:
            bots = (await http.get("/readyz")).json()["bots"]
            stages = [bots[name]["stage"] for name in ("owl", "jay", "hen")]
            done = stages == ["polling", "polling", "serving"] and bots["jay"]["last_error"]
            return bots if done else None

        bots = await until(settled)
        assert (await http.get("/readyz")).status_code == 200  # no reason to take the service away
        families = text_string_to_metric_families((await http.get("/metrics")).text)
    seen = {
        (sample.name.removeprefix("chatgpt2_bot_"), sample.labels["bot"]): sample.value
        for family in families
        for sample in family.samples
        if "bot" in sample.labels
    }
    owl, jay, hen = bots["owl"], bots["jay"], bots["hen"]
    assert (owl["healthy"], owl["last_error"]) == (False, None) and owl["silent_for"] >= 600
    assert (jay["healthy"], jay["last_error"]) == (True, "AdapterError: the nest fell down")
    assert hen == {"stage": "serving", "healthy": True, "silent_for": None, "last_error": None}
    assert [seen["up", name] for name in ("owl", "jay", "hen")] == [0, 1, 1]
    assert [seen["error", name] for name in ("owl", "jay", "hen")] == [0, 1, 0]
    assert [seen["restarts_total", name] for name in ("owl", "jay", "hen")] == [0, 1, 0]
    assert seen["silent_seconds", "owl"] >= 600 and ("silent_seconds", "hen") not in seen
