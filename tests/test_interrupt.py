"""Work that somebody else ends, with a reason."""

from __future__ import annotations

import asyncio

import pytest

from chatgpt2.interrupt import Interruptible


class Late(Exception):
    pass


async def test_the_reason_is_raised_in_place_of_the_cancellation() -> None:
    work = Interruptible()
    asyncio.get_running_loop().call_later(0.01, work.interrupt, Late("too late"))
    with pytest.raises(Late, match="too late"), work:
        await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()
    await asyncio.sleep(0)  # and the task goes on


async def test_the_first_reason_counts_and_comes_before_work_that_has_not_begun() -> None:
    work = Interruptible()
    work.interrupt(Late("first"))
    work.interrupt(Late("second"))
    for _ in range(2):
        with pytest.raises(Late, match="first"), work:
            raise AssertionError("it has begun")


async def test_what_is_interrupted_between_two_waits_ends_at_the_next() -> None:
    work = Interruptible()
    with work:
        await asyncio.sleep(0)
    work.interrupt(Late())
    await asyncio.sleep(0.01)  # nothing is waited for in it
    with pytest.raises(Late), work:
        pass


async def test_what_cleans_up_too_long_is_ended_by_the_next_one() -> None:
    async def work(waiting: Interruptible) -> None:
        with waiting:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(60)

    waiting = Interruptible()
    task = asyncio.create_task(work(waiting))
    for reason in ("first", "second"):
        await asyncio.sleep(0)
        waiting.interrupt(Late(reason))
    with pytest.raises(Late, match="first"):
        await asyncio.wait_for(task, 10)
    assert not task.cancelling()


async def test_somebody_elses_cancellation_goes_on() -> None:
    async def wait(work: Interruptible) -> None:
        with work:
            await asyncio.sleep(60)

    for interrupted in (False, True):
        work = Interruptible()
        task = asyncio.create_task(wait(work))
        await asyncio.sleep(0)
        task.cancel()
        if interrupted:  # at the same time
            work.interrupt(Late())
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_error_of_the_work_is_its_own() -> None:
    work = Interruptible()
    with pytest.raises(ZeroDivisionError), work:
        raise ZeroDivisionError
    assert work.reason is None
