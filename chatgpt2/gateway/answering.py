"""One conversation at a time: what its letters ask, and what is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from chatgpt2.adapter import Adapter, Inbound, Reply
from chatgpt2.chat import ChatService
from chatgpt2.commands import NOTHING_TO_RETRY, Order, obey, read_order
from chatgpt2.errors import ChatGPT2Error, EngineBusy, ReplyStopped
from chatgpt2.gateway.delivering import Delivery
from chatgpt2.gateway.desk import Desk
from chatgpt2.gateway.manners import FAILED, Manners
from chatgpt2.gateway.receiving import key_of
from chatgpt2.gateway.report import Tally
from chatgpt2.gateway.rules import Rules
from chatgpt2.gateway.showing import Preview, showing
from chatgpt2.gateway.splitting import split
from chatgpt2.store import Batch, Chunk, Mailbox, Pause, Queue, SessionKey, Verdict, Waiting

_MOST_ATTEMPTS = 3  # a letter that ends the process each time must not do so for ever
_BUSY_PAUSE = 0.5  # seconds, when the engine's queue is full
_LONGEST_BURST = 4  # times the pause that ends one
_ONCE = ("undo", "retry")  # commands that do something else when they are done twice

_STOPPED = "好的，不说了。"
_UNREADABLE = "我现在只看得懂文字，用文字说给我听吧。"
_INTERRUPTED = "刚才被打断了，不知道做完没有；要是没有，请再说一次。"

log = logging.getLogger(__name__)


class Answering:
    """Works through one leased conversation until there is nothing left to do in it."""

    def __init__(
        self,
        service: ChatService,
        mailbox: Mailbox | Desk,
        delivery: Delivery,
        tally: Tally,
        queue: Queue,
        adapter: Adapter,
        rules: Rules,
        manners: Manners,
        clock: Callable[[], float],
    ) -> None:
        self._service, self._mailbox, self._delivery, self._tally = service, mailbox, delivery, tally
        self._queue, self._adapter, self._rules, self._clock = queue, adapter, rules, clock
        self._manners = manners
        self._speaking: asyncio.Task[str] | None = None
        self._batch = 0
        self.ending = False

    @property
    def key(self) -> SessionKey:
        """The session."""
        return SessionKey(self._queue.platform, self._queue.account, self._queue.chat, self._queue.thread)

    def stop(self, before: int | None = None) -> None:
        """Stop the reply that is being generated, if it answers a letter from before this one."""
        if self._speaking is not None and (before is None or self._batch < before):
            self._speaking.cancel()

    async def run(self) -> None:
        """Work until all is done, or `ending` is set. Raises StoreError; LeaseLost when another has taken over."""
        while not self.ending:
            match await self._mailbox.next(self._queue, self._choose):
                case None:
                    return
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Batch() as batch:
                    await self._answer(batch)
                case chunks:
                    await self._resume(chunks)
        await self._mailbox.release(self._queue.id)

    def _choose(self, waiting: Sequence[Waiting]) -> int | float:
        """How many letters are answered together: those of one person that say something, or show pictures."""
        first = _inbound(waiting[0])
        burst = self._rules.burst if first.kind == "text" else 0.0
        if (
            first.kind not in ("text", "unsupported")
            or _is_order(first)
            or (first.kind == "text" and not burst)
        ):
            return 1
        count = 1
        while count < len(waiting) and _goes_on(first, _inbound(waiting[count])):
            count += 1
        now = datetime.now(UTC)
        quiet = (now - waiting[count - 1].received).total_seconds()
        whole = (now - waiting[0].received).total_seconds()
        if count == len(waiting) and quiet < burst and whole < _LONGEST_BURST * burst:
            return max(0.01, burst - quiet)
        return count

    async def _resume(self, chunks: list[Chunk]) -> None:
        inbound = Inbound(**chunks[0].event)
        reply = self._adapter.open_reply(inbound)
        try:
            await self._deliver(chunks, reply, inbound)
        finally:
            await _close(reply)

    async def _answer(self, batch: Batch) -> None:
        inbound = _inbound(batch.last)
        if inbound.kind == "feedback":
            await self._feedback(inbound)
            await self._mailbox.answer(self._queue, batch, [], greeted=False)
            return
        reply = self._adapter.open_reply(inbound)
        try:
            async with showing(reply, self._adapter.limits, self._greeting(batch)) as preview:
                text, spoken = await self._text(batch, inbound, preview)
            if text is not None:
                await self._deliver(await self._post(batch, text, spoken), reply, inbound)
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

    async def _deliver(self, chunks: Sequence[Chunk], reply: Reply, inbound: Inbound) -> None:
        window = self._adapter.limits.reply_window
        await self._delivery.deliver(self._queue, chunks, reply, inbound, window)

    async def _text(self, batch: Batch, inbound: Inbound, preview: Preview) -> tuple[str | None, bool]:
        """What is answered, and whether the model said it; None: the reply was stopped."""
        if batch.last.attempts >= _MOST_ATTEMPTS:
            return FAILED, False
        said = "\n".join(_inbound(letter).text for letter in batch.letters).strip()
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


def _inbound(letter: Waiting) -> Inbound:
    return Inbound(**letter.event)


def _is_order(inbound: Inbound) -> bool:
    return read_order(inbound.text) is not None


def _goes_on(first: Inbound, other: Inbound) -> bool:
    """Whether the same person goes on with the same kind of thing."""
    return other.kind == first.kind and other.user_id == first.user_id and not _is_order(other)


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
