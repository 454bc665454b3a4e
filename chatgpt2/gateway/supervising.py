"""A bot's life: started, leading or standing by, started again after a pause when it fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

from chatgpt2.adapter import Adapter, Inbox, Services, find
from chatgpt2.commands import SHARED
from chatgpt2.errors import ConfigError, RetryLater
from chatgpt2.gateway.desk import Desk
from chatgpt2.gateway.report import BotReport, Stage
from chatgpt2.gateway.rules import Rules, split_settings
from chatgpt2.gateway.showing import Pace
from chatgpt2.store import AdapterState, Leases, SessionStore

STOPPING = 5.0  # seconds that an adapter has to stop
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds before a failed bot is started again
_CALM = 60.0  # seconds of running after which a failure counts as a first one
_STAND_BY = 1.0  # seconds between two tries to become the leader
_SECRET = ("token", "secret", "key", "password", "proxy")  # in the name of a setting that nobody may read
# Each request looks through all of the pool's connections, and one that is not kept costs a handshake next time.
_LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=32, keepalive_expiry=30.0)

log = logging.getLogger(__name__)


class Bot:
    """One adapter and what is known of it. `ready` is set once it has an account. `secrets` are in no report."""

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        rules: Rules,
        clock: Callable[[], float] = time.time,
        secrets: Sequence[str] = (),
    ) -> None:
        self.name, self.adapter, self.rules = name, adapter, rules
        self.ready = asyncio.Event()
        self.pace = Pace()
        self.changed: Callable[[], None] = lambda: None
        self._clock, self._secrets = clock, secrets
        self._again = asyncio.Event()
        self._leading = False
        self._stage: Stage = "starting"
        self._restarts = 0
        self._error: str | None = None
        self._began = clock()

    async def run(self, inbox: Inbox, leases: Leases | Desk, lease_seconds: float) -> None:
        """Keep the bot alive until cancelled; whatever happens to it stays with it."""
        pause = _FIRST_PAUSE
        try:
            while True:
                self._began = self._clock()
                try:
                    await self._live(inbox, leases, lease_seconds)
                except Exception as error:
                    pause = _FIRST_PAUSE if self._calm else pause
                    wait = error.after if isinstance(error, RetryLater) else pause
                    self._fail(error, wait)
                    await self._rest(wait)
                    pause, self._restarts = min(2 * pause, _LONGEST_PAUSE), self._restarts + 1
        finally:
            await self._stop()

    @property
    def logs_in(self) -> bool:
        """Whether the adapter has a login of its own."""
        return getattr(type(self.adapter), "login", None) is not Adapter.login

    @property
    def answers(self) -> bool:
        """Whether this process can answer for the bot."""
        return self.ready.is_set() and (self._leading or not self.adapter.limits.receiver_answers)

    def start_again(self) -> None:
        """Do not wait any longer after a failure: what was missing is there now."""
        self._again.set()

    async def _rest(self, seconds: float) -> None:
        self._again.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()

    async def _live(self, inbox: Inbox, leases: Leases | Desk, lease_seconds: float) -> None:
        if not self.ready.is_set():
            self._stage = "starting"
            await self.adapter.start(inbox)
            self.ready.set()
            self.changed()
        name = f"{self.adapter.name}:{self.adapter.account}"
        while True:
            if await leases.take(name, lease_seconds):
                try:
                    await self._lead(leases, name, lease_seconds)
                finally:
                    await asyncio.shield(leases.give_back(name))
            self._stage = "standby"
            await asyncio.sleep(_STAND_BY)

    async def _lead(self, leases: Leases | Desk, name: str, lease_seconds: float) -> None:
        """Receive while the lease is kept; whoever loses it stops at once. Raises what `run` raises."""
        running = asyncio.create_task(self.adapter.run())
        self._stage, self._leading = "polling", True
        self.changed()
        try:
            while await leases.take(name, lease_seconds):
                await asyncio.wait({running}, timeout=lease_seconds / 3)
                if running.done():
                    running.result()
                    self._stage = "serving"
                    await asyncio.sleep(lease_seconds / 3)
        finally:
            self._leading = False
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _fail(self, error: Exception, wait: float) -> None:
        self._stage, self._error = "failed", self._masked(f"{type(error).__name__}: {error}")
        log.error("the bot %s failed and is started again in %g s: %s", self.name, wait, self._error)

    async def _stop(self) -> None:
        self._stage = "stopped"
        try:
            async with asyncio.timeout(STOPPING):
                await self.adapter.stop()
        except Exception as error:
            log.warning("the bot %s did not stop well: %r", self.name, error)

    def report(self) -> BotReport:
        """How the bot is."""
        health = self.adapter.health()
        silent = None if health.last_contact is None else self._clock() - health.last_contact
        deaf = self._stage == "polling" and None not in (health.silence, silent) and silent > health.silence  # type: ignore[operator]
        runs = self._stage in ("polling", "standby", "serving")
        return BotReport(
            self.name,
            self.adapter.name,
            self.adapter.account if self.ready.is_set() else "",
            self._stage,
            runs and not deaf,
            self._restarts,
            silent,
            self._masked(health.last_error or "") or (None if runs and self._calm else self._error),
        )

    @property
    def _calm(self) -> bool:
        """It has run so long that what was before is over."""
        return self._clock() - self._began > _CALM

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text


def make_bot(
    name: str,
    settings: Mapping[str, Any],
    store: SessionStore,
    clock: Callable[[], float] = time.time,
) -> tuple[Bot, httpx.AsyncClient]:
    """The bot of this name, and its HTTP client, which is to be closed after it.

    `settings` are its own; "adapter" names the adapter where the bot is called otherwise. Raises ConfigError and
    AdapterError.
    """
    for library in (
        "httpx",
        "httpcore",
    ):  # at INFO they tell every URL, and some platforms have tokens in theirs
        logging.getLogger(library).setLevel(logging.WARNING)
    given = dict(settings)
    plugin = find(str(given.pop("adapter", name)))
    assert plugin.build is not None
    try:
        rules, own = split_settings(given)
        client = httpx.AsyncClient(proxy=rules.proxy, limits=_LIMITS)
        log = logging.getLogger(f"chatgpt2.bots.{name}")
        state = AdapterState(store, name)
        services = Services(client, state, clock, log, SHARED, rules.feedback, rules.proxy)
        return Bot(name, plugin.build(own, services), rules, clock, _secrets(given)), client
    except ConfigError as error:
        raise ConfigError(f"[bots.{name}]: {error}") from error


def _secrets(settings: Mapping[str, Any]) -> list[str]:
    found = [str(value) for key, value in settings.items() if any(word in key for word in _SECRET)]
    return [each for each in found if len(each) > 3]  # or single letters would be taken out of words
