"""Work that is done in one transaction, and what a turn reads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from drivers import opened
from sqlalchemy import Connection, text

from chatgpt2.dialogue import Turn
from chatgpt2.errors import StoreError
from chatgpt2.store import SessionKey, SessionStore
from chatgpt2.store.exchanges import append

KEY = SessionKey("web", chat="one")


async def _blocked(store: SessionStore) -> tuple[threading.Event, asyncio.Task[None]]:
    """Work that is under way until the event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(db: Connection) -> None:
        begun.set()
        go_on.wait(30)

    first = asyncio.create_task(store.write(wait))
    await asyncio.to_thread(begun.wait, 30)
    return go_on, first


def _say(db: Connection, words: str) -> str:
    return append(db, KEY, {"text": words}, {"text": "好"}, None, None)


async def test_what_waits_is_written_in_one_transaction_in_its_order(tmp_path: Path) -> None:
    asked: list[str] = []
    with opened() as connections:
        async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
            await store.append(KEY, "零", "好")
            go_on, first = await _blocked(store)
            waiting = [asyncio.create_task(store.append(KEY, str(number), "好")) for number in range(20)]
            await asyncio.sleep(0)
            for connection in connections:
                connection.set_trace_callback(asked.append)
            go_on.set()
            await asyncio.gather(first, *waiting)
            said = (await store.load(KEY)).turns[::2]
    assert [each.strip() for each in asked if each.startswith(("BEGIN", "COMMIT"))] == [
        *("COMMIT",),  # of the work before
        *("BEGIN IMMEDIATE", "COMMIT"),
    ]
    assert [turn.text for turn in said] == ["零", *map(str, range(20))]


@pytest.mark.parametrize("others", [1, 20])
async def test_small_work_waits_while_another_program_writes_and_nobody_else_does(
    tmp_path: Path, others: int
) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        await store.append(KEY, "零", "好")
        program = sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
        program.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.create_task(store.append(KEY, str(number), "好")) for number in range(others)]
        for _ in range(10):  # the event loop goes on, and who reads need not wait
            await asyncio.sleep(0.01)
            standing = await store.standing(KEY, 4)
            assert standing is not None and len(standing.dialogue) == 2
        assert not any(each.done() for each in waiting)
        program.execute("COMMIT")
        program.close()
        await asyncio.gather(*waiting)
        assert len(await store.load(KEY)) == 2 + 2 * others


async def test_of_small_work_too_what_fails_takes_nothing_else_with_it(tmp_path: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        go_on, first = await _blocked(store)
        before = asyncio.create_task(store.append(KEY, "一", "好"))
        failing = asyncio.create_task(store.append(KEY, "二", None))  # type: ignore[arg-type]
        after = asyncio.create_task(store.append(KEY, "三", "好"))
        await asyncio.sleep(0)
        go_on.set()
        await first
        with pytest.raises(StoreError, match="NOT NULL"):
            await failing
        await asyncio.gather(before, after)
        assert [turn.text for turn in (await store.load(KEY)).turns] == ["一", "好", "三", "好"]


async def test_work_that_fails_takes_nothing_else_with_it(tmp_path: Path) -> None:
    def fail(db: Connection) -> None:
        _say(db, "never")
        db.execute(text("SELECT 1 FROM nowhere"))

    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        go_on, first = await _blocked(store)
        before = asyncio.create_task(store.append(KEY, "一", "好"))
        failing = asyncio.create_task(store.write(fail))
        after = asyncio.create_task(store.append(KEY, "二", "好"))
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(StoreError, match="no such table"):
            await failing
        await asyncio.gather(first, before, after)
        assert [turn.text for turn in (await store.load(KEY)).turns[::2]] == ["一", "二"]


async def test_who_is_cancelled_before_its_turn_has_written_nothing(tmp_path: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        go_on, first = await _blocked(store)
        leaving = asyncio.create_task(store.append(KEY, "never", "好"))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        go_on.set()
        await first
        assert not (await store.load(KEY)).turns


async def test_who_is_cancelled_while_it_is_written_waits_until_it_is(tmp_path: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        go_on, first = await _blocked(store)
        first.cancel()
        await asyncio.wait((first,), timeout=0.05)
        assert not first.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_of_a_long_conversation_the_latest_turns_are_read_from_a_place_that_seldom_moves(
    url: str,
) -> None:
    async with await SessionStore.open(url) as store:
        assert await store.standing(KEY, 4) is None
        beginnings = set()
        for number in range(20):
            await store.append(KEY, f"问{number}", f"答{number}", message_id=str(number))
            standing = await store.standing(KEY, 4, "3")
            assert standing is not None and standing.earlier == (None if number < 3 else "答3")
            turns = standing.dialogue.turns
            assert turns[-1] == Turn("bot", f"答{number}") and min(4, 2 * number + 2) <= len(turns) <= 8
            beginnings.add(turns[0].text)
    assert beginnings == {"问0", *(f"问{number}" for number in range(2, 18, 2))}


async def test_no_turn_is_looked_at_to_find_that_a_message_is_new(tmp_path: Path) -> None:
    statements: list[str] = []
    with opened() as connections:
        async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
            await store.append(KEY, "一", "好")
            await store.standing(KEY, 4)
            for connection in connections:
                connection.set_trace_callback(statements.append)
            await store.standing(KEY, 4, "new")
            (asked,) = [each for each in statements if "message_id = " in each]
            async with store.reading() as db:
                plan = await db.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")
                assert "uq_turns_user_message" in str(plan.all())


async def test_where_there_is_no_write_ahead_log_readers_are_waited_for(tmp_path: Path) -> None:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db"):
        pass
    sqlite3.connect(tmp_path / "chat.db").execute("PRAGMA journal_mode=DELETE").connection.close()
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        await store.append(KEY, "零", "好")
        reader = sqlite3.connect(tmp_path / "chat.db", isolation_level=None, check_same_thread=False)
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM turns").fetchone()
        writing = asyncio.create_task(store.append(KEY, "一", "好"))
        await asyncio.wait((writing,), timeout=0.3)
        reader.execute("COMMIT")
        reader.close()
        await writing
        assert len(await store.load(KEY)) == 4


async def test_without_a_thread_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(StoreError, match="can't start new thread"):
                await store.append(KEY, "一", "好")
        await store.append(KEY, "二", "好")
        assert [turn.text for turn in (await store.load(KEY)).turns] == ["二", "好"]
