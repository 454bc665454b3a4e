from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from chatgpt2.errors import LeaseLost, StoreError
from chatgpt2.store import (
    AdapterState,
    Arrival,
    Batch,
    Choose,
    Gate,
    Leases,
    Letter,
    Mailbox,
    Pause,
    Person,
    Queue,
    Sent,
    SessionStore,
    free_leases_of_the_dead,
)
from chatgpt2.store.erasing import Erased, erase, prune
from chatgpt2.store.upkeep import counts

OPEN = Gate(1000)
ACCOUNTS = [("tele", "bot")]


def letter(number: int, chat: str = "c", user: str = "u", **others: Any) -> Letter:
    return Letter("tele", "bot", chat, "", user, f"m{number}", {"text": f"t{number}"}, **others)


def one(queue: Queue, waiting: Any) -> int:
    return 1


def every(queue: Queue, waiting: Any) -> int:
    return len(waiting)


@pytest.fixture
async def boxes(url: str) -> AsyncIterator[list[Mailbox]]:
    """Three processes on one database, as far as the database can tell."""
    async with AsyncExitStack() as stack:
        yield [Mailbox(await stack.enter_async_context(await SessionStore.open(url))) for _ in range(3)]


async def leased(box: Mailbox, seconds: float = 60, choose: Choose = one) -> tuple[Queue, Any]:
    """The conversation in which there is work, and the work."""
    [claimed] = await box.claim(ACCOUNTS, 10, seconds, choose)
    return claimed


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
    claimed = await asyncio.gather(*(box.claim(ACCOUNTS, 20, 60, one) for box in boxes for _ in range(3)))
    ids = [queue.id for claims in claimed for queue, _ in claims]
    assert len(ids) == len(set(ids)) == 20
    assert await boxes[0].claim(ACCOUNTS, 20, 60, one) == []


async def test_others_accounts_are_left_alone(boxes: list[Mailbox]) -> None:
    await boxes[0].submit(letter(1), OPEN)
    assert await boxes[0].claim([("tele", "other"), ("qq", "bot")], 10, 60, one) == []


async def test_a_letter_goes_through_and_the_lease_comes_back(boxes: list[Mailbox]) -> None:
    box = boxes[0]
    await box.submit(letter(1), OPEN)
    queue, batch = await leased(box)
    assert [waiting.event for waiting in batch.letters] == [{"text": "t1"}] and not batch.greeted
    chunks = await box.answer(queue, batch, ["甲", "乙"], feedback_id="f1", greeted=True)
    assert [(each.text, each.final, each.feedback_id) for each in chunks] == [
        ("甲", False, None),
        ("乙", True, "f1"),
    ]
    await box.sent(queue, Sent(chunks[0], "p1"), chunks[1])
    assert await box.next(queue, one, Sent(chunks[1], "p2")) is None
    assert await box.pending() == (0, 0)
    assert (await box.answered(queue, "f1"), await box.answered(queue, "p1")) == ("m1", "m1")
    assert await box.answered(queue, "p9") is None
    await box.submit(letter(2), OPEN)
    _, again = await leased(boxes[1])
    assert again.greeted


async def test_letters_are_numbered_as_they_come_and_the_platforms_clock_wins(boxes: list[Mailbox]) -> None:
    box = boxes[0]
    for number, sent in ((1, 50.0), (3, 52.0), (2, 51.0)):
        await box.submit(letter(number, sent=sent), OPEN)
    seen = []
    queue, batch = await leased(box)
    while batch is not None:
        seen.append(batch.last.event["text"])
        await box.answer(queue, batch, [], greeted=False)
        batch = await box.next(queue, one)
    assert seen == ["t1", "t2", "t3"]


async def test_a_dead_process_loses_its_lease_and_the_batch_stays_as_it_was(boxes: list[Mailbox]) -> None:
    dead, alive = boxes[0], boxes[1]
    await dead.submit(letter(1), OPEN)
    await dead.submit(letter(2), OPEN)
    stale, both = await leased(dead, 0, every)
    assert isinstance(both, Batch) and len(both.letters) == 2
    await alive.submit(letter(3), OPEN)
    await asyncio.sleep(0.01)
    queue, again = await leased(alive)
    assert [each.event["text"] for each in again.letters] == ["t1", "t2"] and again.last.attempts == 1
    for late in (dead.answer(stale, both, ["晚了"], greeted=False), dead.next(stale, one)):
        with pytest.raises(LeaseLost):
            await late
    await alive.answer(queue, again, [], greeted=False)
    assert (await taken(alive, queue)).last.event == {"text": "t3"}


async def test_only_what_was_not_sent_is_sent_again(boxes: list[Mailbox]) -> None:
    dead, alive = boxes[0], boxes[1]
    await dead.submit(letter(1), OPEN)
    stale, batch = await leased(dead, seconds=0)
    chunks = await dead.answer(stale, batch, ["一", "二", "三"], greeted=False)
    await dead.sent(stale, Sent(chunks[0], "p"), chunks[1])
    await asyncio.sleep(0.01)
    queue, work = await leased(alive, seconds=0)
    assert isinstance(work, list)
    assert [(each.text, each.begun, each.event) for each in work] == [
        ("二", True, {"text": "t1"}),
        ("三", False, {"text": "t1"}),
    ]
    await alive.not_sent(work[0])
    await asyncio.sleep(0.01)
    queue, again = await leased(alive, seconds=0)
    assert isinstance(again, list) and not again[0].begun
    await alive.not_sent(again[0])
    await alive.again(queue, again[0])
    await asyncio.sleep(0.01)
    queue, again = await leased(alive)
    assert again[0].begun
    assert await alive.drop(queue, again[0]) == 2
    assert await alive.next(queue, one) is None


async def test_whoever_lost_the_lease_writes_no_more_but_that_a_chunk_has_arrived(
    boxes: list[Mailbox],
) -> None:
    dead, alive = boxes[0], boxes[1]
    await dead.submit(letter(1), OPEN)
    stale, batch = await leased(dead, seconds=0)
    first, second = await dead.answer(stale, batch, ["一", "二"], greeted=False)
    await asyncio.sleep(0.01)
    queue, chunks = await leased(alive)
    for late in (
        dead.sent(stale, Sent(first, "p1"), second),
        dead.again(stale, second),
        dead.drop(stale, second),
        dead.next(stale, one, Sent(first, "p1")),
    ):
        with pytest.raises(LeaseLost):
            await late
    assert await dead.renew([stale], 60) == {}
    assert await alive.pending() == (0, 1) and [each.text for each in chunks] == ["一", "二"]
    assert await alive.answered(queue, "p1") == "m1"


async def test_a_lease_that_ran_out_is_not_claimed_by_the_one_that_is_busy_with_it(
    boxes: list[Mailbox],
) -> None:
    await boxes[0].submit(letter(1), OPEN)
    queue, _ = await leased(boxes[0], seconds=0)
    await asyncio.sleep(0.01)
    assert await boxes[0].claim(ACCOUNTS, 10, 60, one, busy=[queue.id]) == []
    assert await boxes[0].renew([queue], 60) == {queue.id: None}
    assert not await boxes[1].due(ACCOUNTS)


async def test_many_letters_are_kept_at_once_and_in_order(boxes: list[Mailbox]) -> None:
    chats = ["c", "d", "c", "e", "c"]
    arrivals = [Arrival(letter(number, chat=chat), Gate(2)) for number, chat in enumerate(chats)]
    receipts = await boxes[0].submit_all([*arrivals, arrivals[1]])
    assert receipts == ["new", "new", "new", "new", "busy", "seen"]
    assert await boxes[1].submit_all(arrivals) == ["seen"] * 5
    found = {queue.chat: work for queue, work in await boxes[0].claim(ACCOUNTS, 10, 60, every)}
    assert {chat: [each.event["text"] for each in work.letters] for chat, work in found.items()} == {  # type: ignore[union-attr]
        **{"c": ["t0", "t2"], "d": ["t1"], "e": ["t3"]}
    }


async def test_what_a_dead_process_held_is_free_when_the_next_one_starts(
    boxes: list[Mailbox], url: str
) -> None:
    await boxes[0].submit(letter(1), OPEN)
    code = (
        "import asyncio, os, signal, sys\n"
        "from chatgpt2.store import Leases, Mailbox, SessionStore\n"
        "async def main():\n"
        "    async with await SessionStore.open(sys.argv[1]) as store:\n"
        "        box = Mailbox(store)\n"
        "        await Leases(store, box.owner).take('tele:bot', 600)\n"
        "        assert await box.claim([('tele', 'bot')], 1, 600, lambda queue, waiting: 1)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", code, url)
    assert await process.wait() == -signal.SIGKILL
    async with await SessionStore.open(url) as store:
        mine = Leases(store, boxes[1].owner)
        assert not await mine.take("tele:bot", 60) and not await boxes[1].due(ACCOUNTS)
        await free_leases_of_the_dead(store)
        assert await mine.take("tele:bot", 60) and (await leased(boxes[1]))[1].last.attempts == 1
        await free_leases_of_the_dead(store)  # the living keep theirs
        assert await boxes[2].claim(ACCOUNTS, 10, 60, one) == []


async def test_a_lease_is_kept_by_renewing_it_and_lost_by_giving_it_back(boxes: list[Mailbox]) -> None:
    await boxes[0].submit(letter(1), OPEN)
    queue, _ = await leased(boxes[0], seconds=0)
    assert await boxes[0].renew([queue], 60) == {queue.id: None}
    assert await boxes[1].claim(ACCOUNTS, 10, 60, one) == []
    await boxes[0].release()
    assert (await leased(boxes[1]))[0].id == queue.id
    assert await boxes[0].renew([queue], 60) == {}
    await boxes[0].release(queue)
    assert await boxes[0].claim(ACCOUNTS, 10, 60, one) == []


async def test_a_stop_does_away_with_what_came_before_it(boxes: list[Mailbox]) -> None:
    box = boxes[0]
    await box.submit(letter(1), OPEN)
    queue, batch = await leased(box)
    await box.submit(letter(2), OPEN)
    assert await box.submit(letter(3), OPEN, stop=True) == "new"
    stop = (await box.renew([queue], 60))[queue.id]
    assert stop is not None and stop > batch.last.id
    assert (await taken(box, queue)).last.event == {"text": "t3"}
    await box.submit(letter(4), OPEN, stop=True, answer=False)
    assert await box.next(queue, one) is None


async def test_letters_may_wait_for_more_to_come(boxes: list[Mailbox]) -> None:
    await boxes[0].submit(letter(1), OPEN)
    queue, work = await leased(boxes[0], choose=lambda queue, waiting: 1.5)
    assert work == Pause(1.5)
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
    queue, batch = await leased(box)
    [gone] = await box.answer(queue, batch, ["一"], greeted=False)
    batch = await box.next(queue, one, Sent(gone, ""))
    await box.answer(queue, batch, ["二"], greeted=False)
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
    claims = await box.claim(ACCOUNTS, 10, 60, one)
    [(queue, batch)] = [(queue, work) for queue, work in claims if queue.chat == "c"]
    assert isinstance(batch, Batch)
    await box.answer(queue, batch, ["答"], greeted=False)
    async with await SessionStore.open(url) as store:
        assert (await erase(store, Person("tele", "u"))).others == 2
    assert await box.pending() == (1, 0)
    with pytest.raises(LeaseLost):
        await box.answer(queue, batch, ["答"], greeted=False)
    await box.submit(letter(3), OPEN)
    assert [claimed.chat for claimed, _ in await box.claim(ACCOUNTS, 10, 60, one)] == ["c"]


async def test_pruning_takes_what_is_answered_and_leaves_what_is_not(boxes: list[Mailbox], url: str) -> None:
    box = boxes[0]
    for number, chat in ((1, "c"), (2, "d")):
        await box.submit(letter(number, chat=chat), OPEN)
    (done, batch), (waiting, _) = await box.claim(ACCOUNTS, 10, 60, one)
    assert isinstance(batch, Batch)
    [chunk] = await box.answer(done, batch, ["答"], greeted=True)
    assert await box.next(done, one, Sent(chunk, "p")) is None
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
