"""The gateway of one process: its bots, the conversations it leases, and their end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from chatgpt2.adapter import Request, Response
from chatgpt2.chat import ChatService
from chatgpt2.errors import ConfigError, LeaseLost, StoreError
from chatgpt2.gateway.answering import Answering
from chatgpt2.gateway.batching import batch_size
from chatgpt2.gateway.delivering import Delivery
from chatgpt2.gateway.desk import Desk
from chatgpt2.gateway.holding import Hold, NotHere
from chatgpt2.gateway.logins import Login
from chatgpt2.gateway.manners import Manners
from chatgpt2.gateway.receiving import Receiver
from chatgpt2.gateway.report import BotReport, Tally
from chatgpt2.gateway.supervising import Bot
from chatgpt2.store import (
    Choose,
    Leases,
    Mailbox,
    Queue,
    SessionKey,
    SessionStore,
    Waiting,
    Work,
    free_leases_of_the_dead,
)

LEASE = 6.0  # seconds until others take over from a process that died
_AT_ONCE = 256  # conversations; the engine has a queue of its own
_LOOK, _LONGEST_LOOK = 0.5, 2.0  # seconds between two looks for work that other processes took in
_KEPT = timedelta(days=30)  # how long letters are remembered: against doubles, and for late feedback
_PURGE = 3600.0  # seconds
_COURTESY = 1.0  # seconds for the last polite lines, at the end

log = logging.getLogger(__name__)


class Gateway:
    """Answers what the bots receive. Run it as a context: `async with gateway.running(grace): …`.

    store  where letters and answers are kept; None: in this process only, see Desk
    """

    def __init__(
        self,
        service: ChatService,
        store: SessionStore | None,
        bots: Sequence[Bot],
        *,
        clock: Callable[[], float] = time.time,
        lease: float = LEASE,
        at_once: int = _AT_ONCE,
        manners: Manners = Manners(),  # noqa: B008 (it is frozen)
    ) -> None:
        if len({bot.name for bot in bots}) < len(bots):
            raise ConfigError("a bot is named twice: each of them runs once")
        self.bots = tuple(bots)
        self.tally = Tally()
        self.mailbox: Mailbox | Desk
        self._leases: Leases | Desk
        if store is None:
            self.mailbox = self._leases = Desk()
        else:
            self.mailbox = Mailbox(store)
            self._leases = Leases(store, self.mailbox.owner)
        self._service, self._lease, self._at_once = service, lease, at_once
        self._store, self._manners = store, manners
        self._delivery = Delivery(self.mailbox, self.tally, clock)
        self._receivers = {
            bot.name: Receiver(self.mailbox, bot.adapter, bot.rules, self.tally, self._kept) for bot in bots
        }
        self._working: dict[int, tuple[Answering, asyncio.Task[None]]] = {}
        self._work, self._full = asyncio.Event(), False
        self._ended = False
        self.logins: dict[str, Login] = {}

    @asynccontextmanager
    async def running(self, grace: float) -> AsyncIterator[None]:
        """While this lasts bots receive and are answered. At the end answers that have begun get `grace` seconds;
        what is not done then is done by whoever has the database next."""
        if self._store is not None:
            with suppress(StoreError):  # they expire anyway
                await free_leases_of_the_dead(self._store)
        lives = [
            asyncio.create_task(bot.run(self._receivers[bot.name], self._leases, self._lease))
            for bot in self.bots
        ]
        for bot in self.bots:
            bot.changed = self._work.set
        chores = (
            self._hand_out_for_ever(),
            _for_ever(self._keep, self._lease / 3),
            _for_ever(self._purge, _PURGE),
        )
        tasks = [asyncio.create_task(chore) for chore in chores]
        try:
            yield
        finally:
            await _end(tasks[:1] + tasks[2:])
            await self._finish(grace, lives)
            self._ended = True
            await _end(tasks)

    async def _finish(self, grace: float, lives: Sequence[asyncio.Task[None]]) -> None:
        working = [task for _, task in self._working.values()]
        for answering, _ in self._working.values():
            answering.ending = True
        if working:
            await asyncio.wait(working, timeout=grace)
        await _end(working)
        for receiver in self._receivers.values():
            with suppress(TimeoutError):
                async with asyncio.timeout(_COURTESY):
                    await receiver.close()
        for login in self.logins.values():
            await login.end()
        await _end(lives)
        with suppress(StoreError):
            await self.mailbox.release()

    async def handle(self, name: str, method: str, path: str, request: Request) -> Response:
        """Hand a webhook's request to the bot of this name."""
        bot = next((bot for bot in self.bots if bot.name == name), None)
        if bot is None:
            return Response(404, b"no such bot")
        if not bot.ready.is_set() or self._ended:
            return Response(503, b"the bot is not ready")
        found = [route for route in bot.adapter.routes() if route.path == path]
        for route in found:
            if route.method == method:
                try:
                    return await route.handler(request)
                except StoreError as error:
                    log.error("%s: an event could not be kept: %s", name, error)
                    return Response(503, b"try again later")
        return Response(405 if found else 404)

    def log_in(self, name: str) -> Login:
        """Log the bot of this name in, or go on with that."""
        if name not in self.logins or not self.logins[name].report().running:
            self.logins[name] = Login(next(bot for bot in self.bots if bot.name == name))
        return self.logins[name]

    def report(self) -> list[BotReport]:
        """How each bot is."""
        return [bot.report() for bot in self.bots]

    @property
    def busy(self) -> int:
        """Conversations that are being answered."""
        return len(self._working)

    def _kept(self, session: SessionKey, stop: bool) -> None:
        """A letter has come in."""
        for answering, _ in self._working.values():
            if answering.key == session:
                answering.news = True
                if stop:
                    answering.stop()
        self._work.set()

    async def _hand_out_for_ever(self) -> None:
        """Hand out what has come in; now and then look for what other processes took in, less often the longer there
        was nothing."""
        pause = _LOOK
        while True:
            try:
                found = await self._hand_out()
            except StoreError as error:
                log.error("%s", error)
                found = False
            pause = _LOOK if found else min(2 * pause, _LONGEST_LOOK)
            with suppress(TimeoutError):  # wait_for may swallow a cancellation
                async with asyncio.timeout(pause):
                    await self._work.wait()

    async def _hand_out(self) -> bool:
        """Take on conversations in which there is work. False: there was none."""
        told = self._work.is_set()
        self._work.clear()
        bots = {(bot.adapter.name, bot.adapter.account): bot for bot in self.bots if bot.answers}
        free = self._at_once - len(self._working)
        self._full = free < 1
        if not bots or self._full or not (told or await self.mailbox.due(bots.keys())):
            return False

        def choose(queue: Queue, waiting: Sequence[Waiting]) -> int | float:
            return batch_size(bots[queue.platform, queue.account].rules, waiting)

        began = time.monotonic()
        found = await self.mailbox.claim(bots.keys(), free, self._lease, choose, self._working.keys())
        self._full = len(found) == free
        for queue, work in found:
            bot = bots[queue.platform, queue.account]
            hold = Hold(self.mailbox, queue, self._lease, began, lambda bot=bot: bot.answers)  # type: ignore[misc]
            self._take_on(hold, work, bot, choose)
        return bool(found)

    def _take_on(self, hold: Hold, work: Work, bot: Bot, choose: Choose) -> None:
        parts = (self._service, self.mailbox, self._delivery, self.tally)
        answering = Answering(*parts, hold, bot.adapter, bot.rules, self._manners, choose, bot.pace)
        task = asyncio.create_task(self._converse(hold.queue, answering, work))
        self._working[hold.queue.id] = (answering, task)

    async def _converse(self, queue: Queue, answering: Answering, work: Work) -> None:
        try:
            await answering.run(work)
        except LeaseLost as error:
            log.warning("%s", error)
        except NotHere:
            with suppress(StoreError):  # it expires anyway
                await self.mailbox.release(queue)
        except Exception as error:
            # The letters are still there: they are tried again, here or elsewhere.
            log.error("conversation %s: %s", queue.id, error, exc_info=not isinstance(error, StoreError))
            await asyncio.sleep(_LOOK)
            with suppress(StoreError):
                await self.mailbox.release(queue)
            self._work.set()
        finally:
            del self._working[queue.id]
            # A letter may have come too late for this one, and too early for another.
            if self._full or answering.news:
                self._work.set()

    async def _keep(self) -> None:
        """Prolong the leases; let go of those that are lost, and stop what is to be stopped."""
        working, began = dict(self._working), time.monotonic()
        held = await self.mailbox.renew([each.hold.queue for each, _ in working.values()], self._lease)
        for number, (answering, task) in working.items():
            if number not in held:
                task.cancel()  # if it has not just ended by itself
                continue
            answering.hold.prolonged(began)
            if (stop := held[number]) is not None:
                answering.stop(before=stop)

    async def _purge(self) -> None:
        await self.mailbox.purge(datetime.now(UTC) - _KEPT)


async def _for_ever(chore: Callable[[], Coroutine[Any, Any, None]], pause: float) -> None:
    """Do it again and again; a database that fails is tried again."""
    while True:
        try:
            await chore()
        except StoreError as error:
            log.error("%s", error)
        await asyncio.sleep(pause)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
