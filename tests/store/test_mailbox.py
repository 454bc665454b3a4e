from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from chatgpt2.errors import LeaseLost, StoreError
from chatgpt2.store import (
    AdapterState,
    Batch,
    Gate,
    Leases,
    Letter,
    Mailbox,
    Pause,
    Person,
    Queue,
    SessionStore,
)
from chatgpt2.store.erasing import Erased, erase, prune
from chatgpt2.store.upkeep import counts

OPEN = Gate(1000)
ACCOUNTS = [("tele", "bot")]


def letter(number: int, chat: str = "c", user: str = "u", **others: Any) -> Letter:
    return Letter("tele", "bot", chat, "", user, f"m{number}", {"text": f"t{number}"}, **others)


def one(waiting: Any) -> int:
    return 1


@pytest.fixture
async def boxes(url: str) -> AsyncIterator[list[Mailbox]]:
    """Three processes on one database, as far as the database can tell."""
    async with AsyncExitStack() as stack:
        yield [Mailbox(await stack.enter_async_context(await SessionStore.open(url))) for _ in range(3)]


async def leased(box: Mailbox, seconds: float = 60) -> Queue:
    [queue] = await box.claim(ACCOUNTS, 10, seconds)
    return queue


async def taken(box: Mailbox, queue: Queue) -> Batch:
    work = await box.next(queue, one)
    assert isinstance(work, Batch)
    return work


async def test_a_message_is_kept_once_however_often_it_comes(boxes: list[Mailbox]) -> None:
    receipts = await asyncio.gather(*(boxes[each % 3].submit(letter(1), OPEN) for each in range(9)))
    assert sorted(receipts) == ["new", *["seen"] * 8]
    assert await boxes[0].submit(letter(1, chat="elsewhere"), OPEN) == "seen"
    assert await boxes[0].pending() == (1, 0)


async def test_a_conversation_is_leased_to_one_process_only(boxes: list[Mailbox]) -> None:
    for number in range(20):
        await boxes[0].submit(letter(number, chat=f"c{number}"), OPEN)
    claimed = await asyncio.gather(*(box.claim(ACCOUNTS, 20, 60) for box in boxes for _ in range(3)))
    ids = [queue.id for queues in claimed for queue in queues]
    assert len(ids) == len(set(ids)) == 20
    assert await boxes[0].claim(ACCOUNTS, 20, 60) == []


async def test_others_accounts_are_left_alone(boxes: list[Mailbox]) -> None:
    await boxes[0].submit(letter(1), OPEN)
    assert await boxes[0].claim([("tele", "other"), ("qq", "bot")], 10, 60) == []


async def test_a_letter_goes_through_and_the_lease_comes_back(boxes: list[Mailbox]) -> None:
    box = boxes[0]
    await box.submit(letter(1), OPEN)
    queue = await leased(box)
    batch = await taken(box, queue)
    assert [waiting.event for waiting in batch.letters] == [{"text": "t1"}] and not batch.greeted
    chunks = await box.answer(queue, batch, ["甲", "乙"], feedback_id="f1", greeted=True)
    assert [(each.text, each.final, each.feedback_id) for each in chunks] == [
        ("甲", False, None),
        ("乙", True, "f1"),
    ]
    await box.sent(queue, chunks[0], "p1", chunks[1])
    await box.sent(queue, chunks[1], "p2", None)
    assert await box.pending() == (0, 0)
    assert (await box.answered(queue, "f1"), await box.answered(queue, "p1")) == ("m1", "m1")
    assert await box.answered(queue, "p9") is None
    assert await box.next(queue, one) is None
    await box.submit(letter(2), OPEN)
    again = await leased(boxes[1])
    assert (await taken(boxes[1], again)).greeted


async def test_letters_are_numbered_as_they_come_and_the_platforms_clock_wins(boxes: list[Mailbox]) -> None:
    box = boxes[0]
    for number, sent in ((1, 50.0), (3, 52.0), (2, 51.0)):
        await box.submit(letter(number, sent=sent), OPEN)
    queue, seen = await leased(box), []
    for _ in range(3):
        batch = await taken(box, queue)
        seen.append(batch.last.event["text"])
        await box.answer(queue, batch, [], greeted=False)
    assert seen == ["t1", "t2", "t3"]


async def test_a_dead_process_loses_its_lease_and_the_batch_stays_as_it_was(boxes: list[Mailbox]) -> None:
    dead, alive = boxes[0], boxes[1]
    await dead.submit(letter(1), OPEN)
    await dead.submit(letter(2), OPEN)
    queue = await leased(dead, seconds=0)
    both = await dead.next(queue, len)
    assert isinstance(both, Batch) and len(both.letters) == 2
    await alive.submit(letter(3), OPEN)
    await asyncio.sleep(0.01)
    queue = await leased(alive)
    again = await taken(alive, queue)
    assert [each.event["text"] for each in again.letters] == ["t1", "t2"] and again.last.attempts == 1
    for late in (dead.answer(queue, both, ["晚了"], greeted=False), dead.next(queue, one)):
        with pytest.raises(LeaseLost):
            await late
    await alive.answer(queue, again, [], greeted=False)
    assert (await taken(alive, queue)).last.event == {"text": "t3"}


async def test_only_what_was_not_sent_is_sent_again(boxes: list[Mailbox]) -> None:
    dead, alive = boxes[0], boxes[1]
    await dead.submit(letter(1), OPEN)
    queue = await leased(dead, seconds=0)
    chunks = await dead.answer(queue, await taken(dead, queue), ["一", "二", "三"], greeted=False)
    await dead.sent(queue, chunks[0], "p", chunks[1])
    await asyncio.sleep(0.01)
    work = await alive.next(await leased(alive), one)
    assert isinstance(work, list)
    assert [(each.text, each.begun, each.event) for each in work] == [
        ("二", True, {"text": "t1"}),
        ("三", False, {"text": "t1"}),
    ]
    await alive.not_sent(work[0])
    again = await alive.next(queue, one)
    assert isinstance(again, list) and not again[0].begun
    assert await alive.drop(again[0]) == 2
    assert await alive.next(queue, one) is None


async def test_a_lease_is_kept_by_renewing_it_and_lost_by_giving_it_back(boxes: list[Mailbox]) -> None:
    await boxes[0].submit(letter(1), OPEN)
    queue = await leased(boxes[0], seconds=0)
    assert await boxes[0].renew([queue.id], 60) == {queue.id: None}
    assert await boxes[1].claim(ACCOUNTS, 10, 60) == []
    await boxes[0].release()
    assert (await leased(boxes[1])).id == queue.id
    assert await boxes[0].renew([queue.id], 60) == {}


async def test_a_stop_does_away_with_what_came_before_it(boxes: list[Mailbox]) -> None:
    box = boxes[0]
    await box.submit(letter(1), OPEN)
    queue = await leased(box)
    batch = await taken(box, queue)
    await box.submit(letter(2), OPEN)
    assert await box.submit(letter(3), OPEN, stop=True) == "new"
    stop = (await box.renew([queue.id], 60))[queue.id]
    assert stop is not None and stop > batch.last.id
    assert (await taken(box, queue)).last.event == {"text": "t3"}
    await box.submit(letter(4), OPEN, stop=True, answer=False)
    assert await box.next(queue, one) is None


async def test_letters_may_wait_for_more_to_come(boxes: list[Mailbox]) -> None:
    await boxes[0].submit(letter(1), OPEN)
    queue = await leased(boxes[0])
    assert await boxes[0].next(queue, lambda waiting: 1.5) == Pause(1.5)
    assert len((await taken(boxes[0], queue)).letters) == 1


async def test_a_full_conversation_and_a_greedy_user_are_refused(boxes: list[Mailbox]) -> None:
    box, midnight = boxes[0], datetime.now(UTC) - timedelta(hours=1)
    full = [await box.submit(letter(each), Gate(2)) for each in range(4)]
    assert full == ["new", "new", "busy", "busy"]
    rates = [await box.submit(letter(each, user="v", chat="v"), Gate(99, 2)) for each in range(10, 15)]
    assert rates == ["new", "new", "slow", "dropped", "dropped"]
    gate = Gate(99, None, 1, midnight)
    days = [await box.submit(letter(each, user="w", chat="w"), gate) for each in range(20, 23)]
    assert days == ["new", "spent", "dropped"]
    assert await box.submit(letter(10, user="v", chat="v"), Gate(99, 2)) == "seen"


async def test_old_letters_are_deleted_and_unsent_ones_kept(boxes: list[Mailbox]) -> None:
    box = boxes[0]
    for number in (1, 2, 3):
        await box.submit(letter(number), OPEN)
    queue = await leased(box)
    [gone] = await box.answer(queue, await taken(box, queue), ["一"], greeted=False)
    await box.sent(queue, gone, "", None)
    await box.answer(queue, await taken(box, queue), ["二"], greeted=False)
    assert await box.purge(datetime.now(UTC) + timedelta(days=1)) == 1
    assert await box.pending() == (1, 1)


async def test_one_process_leads_until_it_gives_up_or_dies(boxes: list[Mailbox], url: str) -> None:
    async with await SessionStore.open(url) as store:
        first, second = Leases(store, "a"), Leases(store, "b")
        taken = await asyncio.gather(*(each.take("tele:bot", 60) for each in (first, second)))
        assert sorted(taken) == [False, True]
        holder, other = (first, second) if taken[0] else (second, first)
        assert await holder.take("tele:bot", 60) and not await other.take("tele:bot", 60)
        await other.give_back("tele:bot")
        assert not await other.take("tele:bot", 60)
        await holder.give_back("tele:bot")
        assert await other.take("tele:bot", 0)
        await asyncio.sleep(0.01)
        assert await holder.take("tele:bot", 60)


async def test_an_adapter_remembers_values_of_its_own(url: str) -> None:
    async with await SessionStore.open(url) as store:
        mine, yours = AdapterState(store, "mine"), AdapterState(store, "yours")
        assert await mine.get("cursor") is None
        await asyncio.gather(*(mine.set("cursor", {"at": each}) for each in (1, 1, 1)))
        await mine.set("token%1", "字")
        await yours.set("cursor", 5)
        assert await mine.get("cursor") == {"at": 1}
        assert await mine.all("token%") == {"token%1": "字"}
        await mine.set("cursor", None)
        assert await mine.all() == {"token%1": "字"} and await yours.get("cursor") == 5


async def test_who_is_erased_leaves_no_letters(boxes: list[Mailbox], url: str) -> None:
    box = boxes[0]
    await box.submit(letter(1), OPEN)
    await box.submit(letter(2, chat="d", user="v"), OPEN)
    queue = next(each for each in await box.claim(ACCOUNTS, 10, 60) if each.chat == "c")
    await box.answer(queue, await taken(box, queue), ["答"], greeted=False)
    async with await SessionStore.open(url) as store:
        assert (await erase(store, Person("tele", "u"))).others == 1
    assert await box.pending() == (1, 0)


async def test_pruning_takes_what_is_answered_and_leaves_what_is_not(boxes: list[Mailbox], url: str) -> None:
    box = boxes[0]
    for number, chat in ((1, "c"), (2, "d")):
        await box.submit(letter(number, chat=chat), OPEN)
    done, waiting = await box.claim(ACCOUNTS, 10, 60)
    [chunk] = await box.answer(done, await taken(box, done), ["答"], greeted=True)
    await box.sent(done, chunk, "p", None)
    assert await box.next(done, one) is None
    async with await SessionStore.open(url) as store:
        yesterday, tomorrow = (datetime.now(UTC) + timedelta(days=each) for each in (-1, 1))
        assert await prune(store, yesterday) == Erased()
        assert await box.submit(letter(1), OPEN) == "seen"
        assert await prune(store, tomorrow) == Erased(others=1)
        rows = await counts(store)
    assert (rows["queues"], rows["inbox"], rows["outbox"]) == (1, 1, 0)
    assert (await taken(box, waiting)).last.event == {"text": "t2"}


async def test_a_closed_store_says_so_and_opens_nothing(url: str) -> None:
    async with await SessionStore.open(url) as store:
        box = Mailbox(store)
        async with store.reading() as db:  # what is under way may end
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0)
            await db.execute(select(1))
        await closing
    with pytest.raises(StoreError, match="has been closed"):
        await box.submit(letter(1), OPEN)
