"""One conversation at a time: what its letters ask, and what is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from chatgpt2.adapter import Adapter, Inbound, Reply
from chatgpt2.chat import ChatService
from chatgpt2.commands import NOTHING_TO_RETRY, Order, obey, read_order
from chatgpt2.errors import ChatGPT2Error, EngineBusy, ReplyStopped
from chatgpt2.gateway.batching import inbound_of
from chatgpt2.gateway.delivering import Delivery
from chatgpt2.gateway.desk import Desk
from chatgpt2.gateway.holding import Hold
from chatgpt2.gateway.manners import FAILED, Manners
from chatgpt2.gateway.receiving import key_of
from chatgpt2.gateway.report import Tally
from chatgpt2.gateway.rules import Rules
from chatgpt2.gateway.showing import Pace, Preview, showing
from chatgpt2.gateway.splitting import split
from chatgpt2.store import Batch, Choose, Chunk, Mailbox, Pause, Sent, SessionKey, Verdict, Work

# A letter that ends the process each time must not do so for ever. Others that were in the making when it did are
# not to blame, so this is many times.
_MOST_ATTEMPTS = 10
_BUSY_PAUSE = 0.5  # seconds, when the engine's queue is full
_ONCE = ("undo", "retry")  # commands that do something else when they are done twice

_STOPPED = "好的，不说了。"
_UNREADABLE = "我现在只看得懂文字，用文字说给我听吧。"
_INTERRUPTED = "刚才被打断了，不知道做完没有；要是没有，请再说一次。"

log = logging.getLogger(__name__)
T = TypeVar("T")


class Answering:
    """Works through one leased conversation until there is nothing left to do in it."""

    def __init__(
        self,
        service: ChatService,
        mailbox: Mailbox | Desk,
        delivery: Delivery,
        tally: Tally,
        hold: Hold,
        adapter: Adapter,
        rules: Rules,
        manners: Manners,
        choose: Choose,
        pace: Pace,
    ) -> None:
        self._service, self._mailbox, self._delivery, self._tally = service, mailbox, delivery, tally
        self.hold, self._adapter, self._rules, self._choose = hold, adapter, rules, choose
        self._queue, self._manners, self._pace = hold.queue, manners, pace
        self._speaking: asyncio.Task[str] | None = None
        self._batch = 0
        self.ending = False
        self.news = False  # a letter has come in since it was last asked what is next
        queue = hold.queue
        self.key = SessionKey(queue.platform, queue.account, queue.chat, queue.thread)

    def stop(self, before: int | None = None) -> None:
        """Stop the reply that is being generated, if it answers a letter from before this one."""
        if self._speaking is not None and (before is None or self._batch < before):
            self._speaking.cancel()

    async def run(self, work: Work) -> None:
        """Do this, and what follows, until all is done, or `ending` is set. Raises StoreError; LeaseLost when another
        has taken over; NotHere when another is to."""
        while work is not None:
            match work:
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    work = await self._go_on(None)
                case Batch():
                    work = await self._answer(work)
                case _:
                    work = await self._resume(work)

    async def _go_on(self, sent: Sent | None) -> Work:
        """What is next. That the last chunk has arrived is noted also when this is cancelled meanwhile."""
        if not self.ending:
            self.news = False
            return await _surely(self._mailbox.next(self._queue, self._choose, sent))
        if sent is not None:
            await _surely(self._mailbox.sent(self._queue, sent, None))
        await self._mailbox.release(self._queue)
        return None

    async def _resume(self, chunks: list[Chunk]) -> Work:
        inbound = Inbound(**chunks[0].event)
        reply = self._adapter.open_reply(inbound)
        try:
            return await self._go_on(await self._deliver(chunks, reply, inbound))
        finally:
            await _close(reply)

    async def _answer(self, batch: Batch) -> Work:
        inbound = inbound_of(batch.last)
        if inbound.kind == "feedback":
            await self._feedback(inbound)
            await self._mailbox.answer(self._queue, batch, [], greeted=False)
            return await self._go_on(None)
        reply = self._adapter.open_reply(inbound)
        try:
            limits, before = self._adapter.limits, self._greeting(batch)
            async with showing(reply, limits, self._pace, before) as preview:
                text, spoken = await self._text(batch, inbound, preview)
            chunks = [] if text is None else await self._post(batch, text, spoken)
            return await self._go_on(await self._deliver(chunks, reply, inbound))
        finally:
            await _close(reply)

    def _greeting(self, batch: Batch) -> str:
        """What a stranger reads first."""
        return f"{self._rules.notice}\n" if self._rules.notice and not batch.greeted else ""

    async def _post(self, batch: Batch, text: str, spoken: bool) -> list[Chunk]:
        """The answer in the outbox, the letters being done."""
        text = self._greeting(batch) + text
        feedback = f"fb-{batch.last.id}" if spoken and self._rules.feedback else None
        chunks = split(text, self._adapter.limits)
        posted = await self._mailbox.answer(self._queue, batch, chunks, feedback_id=feedback, greeted=True)
        self._tally.answered += 1
        return posted

    async def _deliver(self, chunks: Sequence[Chunk], reply: Reply, inbound: Inbound) -> Sent | None:
        window = self._adapter.limits.reply_window
        return await self._delivery.deliver(self.hold, chunks, reply, inbound, window)

    async def _text(self, batch: Batch, inbound: Inbound, preview: Preview) -> tuple[str | None, bool]:
        """What is answered, and whether the model said it; None: the reply was stopped."""
        if batch.last.attempts >= _MOST_ATTEMPTS:
            return FAILED, False
        said = "\n".join(inbound_of(letter).text for letter in batch.letters).strip()
        if inbound.kind == "unsupported" or not said:
            return _UNREADABLE, False
        order = read_order(said)
        try:
            answer = None if order is None else await self._obey(order, inbound, batch.last.attempts)
            if answer is not None:
                return answer, False
            return await self._speak(order, said, inbound, batch, preview), True
        except ReplyStopped:  # by another front end
            return _STOPPED, False
        except ChatGPT2Error as error:
            if (told := self._manners.failed(error)) is None:
                raise
            return told, False

    async def _obey(self, order: Order, inbound: Inbound, attempts: int) -> str | None:
        """What a command is answered with; None: with what the model says anew."""
        if order.name == "stop":  # it has been done already: it did not wait for its turn
            return _STOPPED
        if attempts and order.name in _ONCE:
            return _INTERRUPTED
        key = key_of(inbound)
        if order.name == "retry":
            return None if (await self._service.history(key)).turns else NOTHING_TO_RETRY
        return await obey(order, self._service, key, self._manners.commands, inbound.user_id)

    async def _speak(
        self, order: Order | None, said: str, inbound: Inbound, batch: Batch, preview: Preview
    ) -> str | None:
        """The model's reply; None when it was stopped."""
        key = key_of(inbound)
        while True:
            texts = (
                self._service.stream(key, said, inbound.message_id, inbound.user_id)
                if order is None
                else self._service.retry(key)
            )
            self._batch = batch.last.id
            self._speaking = asyncio.create_task(_last(texts, preview))
            try:
                return await self._speaking
            except EngineBusy:
                await asyncio.sleep(_BUSY_PAUSE)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    self._speaking.cancel()
                    await asyncio.gather(self._speaking, return_exceptions=True)
                    raise
                return None
            finally:
                self._speaking = None

    async def _feedback(self, inbound: Inbound) -> None:
        """Somebody's opinion of a reply; one on something else is passed over."""
        message = await self._mailbox.answered(self._queue, inbound.about)
        if message is not None:
            verdicts: dict[str, Verdict] = {"up": "up", "down": "down"}
            verdict = verdicts.get(inbound.text)
            await self._service.feedback(key_of(inbound), verdict, user=inbound.user_id, message_id=message)


async def _surely(work: Coroutine[Any, Any, T]) -> T:
    """Do it to its end also when whoever waits for it is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody else will ask for it
        raise


async def _last(texts: AsyncGenerator[str], preview: Preview) -> str:
    final = ""
    async with aclosing(texts):
        async for final in texts:
            preview.show(final)
    return final


async def _close(reply: Reply) -> None:
    try:
        await reply.close()
    except Exception as error:
        log.warning("a reply could not be closed: %r", error)
