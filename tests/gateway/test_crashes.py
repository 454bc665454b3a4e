"""Processes are killed while people write; benchmarks/crash.py runs more of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.crashing import USERS, crashing


@pytest.mark.slow
@pytest.mark.parametrize(("database", "rounds", "processes"), [("sqlite", 20, 1), ("postgresql", 20, 2)])
async def test_killed_processes_lose_nothing_and_say_nothing_twice(
    database: str, rounds: int, processes: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with crashing(tmp_path, request.getfixturevalue(database), seed=7) as crashes:
        count = await crashes.run(rounds, processes, print)
    assert (count.lost, count.doubled, count.out_of_order, count.remarks) == (0, 0, 0, [])
    assert count.messages == rounds * len(USERS) and count.killed >= rounds
