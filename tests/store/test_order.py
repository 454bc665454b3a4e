from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psycopg
from sqlalchemy import text

from chatgpt2.errors import StoreError
from chatgpt2.store import SessionKey, SessionStore
from chatgpt2.store.order import _number

KEY, OTHER = SessionKey("web", chat="one"), SessionKey("web", chat="two")

HOLDER = """
import asyncio, sys
from chatgpt2.store import SessionKey, SessionStore
async def main():
    async with await SessionStore.open(sys.argv[1]) as store, store.order.alone(SessionKey("web", chat="one")):
        print("held", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_two_processes_are_in_a_session_one_after_the_other(postgresql: str) -> None:
    async with await SessionStore.open(postgresql) as one, await SessionStore.open(postgresql) as two:
        log: list[str] = []

        async def visit(store: SessionStore, name: str) -> None:
            async with store.order.alone(KEY):
                log.append(f"{name} in")
                await asyncio.sleep(0.1)
                log.append(f"{name} out")

        await asyncio.gather(visit(one, "one"), visit(two, "two"))
        assert log in (["one in", "one out", "two in", "two out"], ["two in", "two out", "one in", "one out"])
        async with one.order.alone(KEY), two.order.alone(OTHER):  # other sessions need not wait
            pass


async def test_a_killed_process_lets_go(postgresql: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, postgresql], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        async with await SessionStore.open(postgresql) as store:
            waiting = asyncio.create_task(_visit(store))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            process.kill()
            await asyncio.wait_for(waiting, 30)
    finally:
        process.kill()
        process.communicate()


async def test_who_gives_up_waiting_leaves_nothing_locked(postgresql: str) -> None:
    async with await SessionStore.open(postgresql) as one, await SessionStore.open(postgresql) as two:
        async with one.order.alone(KEY):
            for _ in range(5):
                waiting = asyncio.create_task(_visit(two))
                await asyncio.sleep(0.01)
                waiting.cancel()
        for _ in range(5):  # given up at every stage, also just when it gets the lock
            waiting = asyncio.create_task(_visit(two))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
        await asyncio.wait_for(_visit(one), 30)


async def test_a_reply_is_ended_from_another_process(postgresql: str) -> None:
    async with await SessionStore.open(postgresql) as one, await SessionStore.open(postgresql) as two:
        ended, other = asyncio.Event(), asyncio.Event()
        assert not await two.order.end_elsewhere(KEY)
        async with one.order.alone(KEY), one.order.alone(OTHER):
            with one.order.ending(KEY, ended.set), one.order.ending(OTHER, other.set):
                assert not await one.order.end_elsewhere(KEY)  # here is no elsewhere
                _cut_all_connections(postgresql)  # the locks are lost, and got again by who needs one next
                async with asyncio.timeout(30):
                    await one.order._lock(_number(KEY))
                    assert await two.order.end_elsewhere(KEY)
                    await ended.wait()
                assert not other.is_set()


async def test_after_a_lost_connection_it_goes_on(postgresql: str) -> None:
    async with await SessionStore.open(postgresql) as store:
        async with store.order.alone(KEY):
            _cut_all_connections(postgresql)
        await _visit(store)
        _cut_all_connections(postgresql)
        await _visit(store)
        await store.append(KEY, "你好", "你好呀")
        assert len((await store.load(KEY)).turns) == 2


async def test_a_connection_lost_in_a_write_is_told_and_leaves_no_half_turn(postgresql: str) -> None:
    async with await SessionStore.open(postgresql) as store:
        await store.append(KEY, "一", "甲")
        told = ""
        try:
            async with store.writing() as db:
                await db.execute(text("DELETE FROM turns WHERE role = 'bot'"))
                _cut_all_connections(postgresql)
                await db.execute(text("SELECT 1"))
        except StoreError as error:
            told = str(error)
        assert "cannot be used" in told
        assert len((await store.load(KEY)).turns) == 2


async def test_sqlite_needs_no_lock_between_processes(tmp_path: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        await _visit(store)


async def _visit(store: SessionStore) -> None:
    async with store.order.alone(KEY):
        pass


def _cut_all_connections(postgresql: str) -> None:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
