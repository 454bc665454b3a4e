from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fakes.talking import Letters, Scripted
from scripted import Memory

from chatgpt2.adapter import Command
from chatgpt2.chat import ChatService
from chatgpt2.commands import SHARED
from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import ChatGPT2Error, EngineError, StoreError
from chatgpt2.gateway import Bot, Gateway, Manners, Rules
from chatgpt2.gateway.desk import Desk
from chatgpt2.serving import Serving
from chatgpt2.store import Arrival, Batch, Gate, Letter, Mailbox, Pause, Queue, Sent, SessionStore

OPEN = Gate(1000)
ACCOUNTS = [("tele", "bot")]
Box = Desk | Mailbox


@pytest.fixture(params=["desk", "mailbox"])
async def box(request: pytest.FixtureRequest, sqlite: str) -> AsyncIterator[Box]:
    """Whatever is asked of a desk here, a mailbox does in the same way."""
    async with await SessionStore.open(sqlite) as store:
        yield Desk() if request.param == "desk" else Mailbox(store)


def letter(number: int, chat: str = "c", user: str = "u") -> Letter:
    return Letter("tele", "bot", chat, "", user, f"m{number}", {"text": f"t{number}"})


def one(queue: Queue, waiting: Any) -> int:
    return 1


def all_of_them(queue: Queue, waiting: Any) -> int:
    return len(waiting)


async def leased(box: Box, choose: Any = one) -> tuple[Queue, Batch]:
    assert await box.due(ACCOUNTS)
    [(queue, work)] = await box.claim(ACCOUNTS, 10, 60, choose)
    assert isinstance(work, Batch)
    return queue, work


async def taken(box: Box, queue: Queue) -> Batch:
    work = await box.next(queue, one)
    assert isinstance(work, Batch)
    return work


def texts(batch: Batch) -> list[str]:
    return [each.event["text"] for each in batch.letters]


async def test_a_letter_is_kept_once_answered_once_and_the_conversation_is_let_go(box: Box) -> None:
    assert [await box.submit(letter(1), OPEN) for _ in range(2)] == ["new", "seen"]
    assert await box.claim([("tele", "other")], 10, 60, one) == []
    queue, batch = await leased(box)
    assert await box.claim(ACCOUNTS, 10, 60, one) == [] and not await box.due(ACCOUNTS)
    assert texts(batch) == ["t1"] and not batch.greeted
    chunks = await box.answer(queue, batch, ["甲", "乙"], feedback_id="f1", greeted=True)
    assert [(each.text, each.position, each.final, each.feedback_id) for each in chunks] == [
        *(("甲", 0, False, None), ("乙", 1, True, "f1")),
    ]
    assert await box.pending() == (0, 2)
    await box.sent(queue, Sent(chunks[0], "p1"), chunks[1])
    await box.not_sent(chunks[1])
    await box.again(queue, chunks[1])
    await box.release(queue)
    [(queue, work)] = await box.claim(ACCOUNTS, 10, 60, one)
    assert isinstance(work, list) and [each.text for each in work] == ["乙"]
    assert await box.next(queue, one, Sent(chunks[1], "p2")) is None
    assert (await box.answered(queue, "f1"), await box.answered(queue, "p1")) == ("m1", "m1")
    assert await box.answered(queue, "p9") is None
    await box.submit(letter(2), OPEN)
    queue, batch = await leased(box)
    assert batch.greeted
    await box.submit(letter(3, chat="d"), OPEN)
    assert await box.claim(ACCOUNTS, 10, 60, one, busy=range(100)) == []


async def test_a_batch_stays_as_it_was_begun(box: Box) -> None:
    assert await box.submit_all([Arrival(letter(number), OPEN) for number in (1, 2)]) == ["new", "new"]
    [(queue, work)] = await box.claim(ACCOUNTS, 10, 60, lambda queue, waiting: 1.5)
    assert work == Pause(1.5)
    work = await box.next(queue, all_of_them)
    assert isinstance(work, Batch) and texts(work) == ["t1", "t2"]
    await box.submit(letter(3), OPEN)
    await box.release(queue)
    queue, again = await leased(box)
    assert texts(again) == ["t1", "t2"] and again.last.attempts == 1
    await box.answer(queue, again, [], greeted=False)
    assert texts(await taken(box, queue)) == ["t3"]


async def test_a_stop_does_away_with_what_came_before_it(box: Box) -> None:
    await box.submit(letter(1), OPEN)
    queue, batch = await leased(box)
    assert await box.renew([queue], 60) == {queue.id: None}
    assert await box.submit(letter(3), OPEN, stop=True) == "new"
    stop = (await box.renew([queue], 60))[queue.id]
    assert stop is not None and stop > batch.last.id
    assert texts(await taken(box, queue)) == ["t3"]
    await box.submit(letter(4), OPEN, stop=True, answer=False)
    assert await box.next(queue, one) is None
    assert await box.renew([queue], 60) == {}


async def test_a_full_conversation_and_a_greedy_user_are_refused(box: Box) -> None:
    full = [await box.submit(letter(each), Gate(2)) for each in range(4)]
    assert full == ["new", "new", "busy", "busy"]
    rates = [await box.submit(letter(each, user="v", chat="v"), Gate(99, 2)) for each in range(10, 15)]
    assert rates == ["new", "new", "slow", "dropped", "dropped"]
    gate = Gate(99, None, 1, datetime.now(UTC) - timedelta(hours=1))
    days = [await box.submit(letter(each, user="w", chat="w"), gate) for each in range(20, 23)]
    assert days == ["new", "spent", "dropped"]


async def test_an_answer_is_given_up_and_what_is_old_forgotten(box: Box) -> None:
    await box.submit(letter(1), OPEN)
    queue, batch = await leased(box)
    chunks = await box.answer(queue, batch, ["一", "二"], greeted=False)
    assert await box.drop(queue, chunks[0]) == 2 and await box.pending() == (0, 0)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert (await box.purge(tomorrow), await box.purge(tomorrow)) == (1, 0)
    await box.release()


def told(error: ChatGPT2Error) -> str:
    return f"没成：{error}"


@pytest.mark.parametrize("error", [EngineError("out of memory"), StoreError("the disk is full")])
async def test_whoever_runs_it_may_hear_what_went_wrong(sqlite: str, error: ChatGPT2Error) -> None:
    adapter, engine = Memory(), Scripted("好")

    async def fail(*_: object) -> Any:
        raise error
        yield

    engine.generate = fail  # type: ignore[method-assign]
    manners = Manners((*SHARED, Command("quit", ("退出",), "", "离开")), told)
    async with await SessionStore.open(sqlite) as store:
        service = ChatService(Serving(engine, Letters(), SamplingParams()), store)
        gateway = Gateway(service, None, [Bot("b", adapter, Rules(notice=""))], manners=manners)
        async with gateway.running(5):
            await gateway.bots[0].ready.wait()
            for number, text in enumerate(("你好", "/retry", "/help", "/quitt"), 1):
                await adapter.inbox.submit(adapter.event(number, text))
            await adapter.until(lambda: len(adapter.sent) == 4)
    failed, nothing, listed, unknown = (text for _, text in adapter.sent)
    assert (failed, nothing) == (f"没成：{error}", "还没有可以重答的话。")
    assert "/quit" in listed and "是不是想用 /quit？" in unknown
