"""`chatgpt2 serve` put together: a model, the sessions, a server, and what signals do."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from chatgpt2.chat import BlockedWords, ChatService
from chatgpt2.cli.bot_settings import open_bots
from chatgpt2.cli.home import data_folder
from chatgpt2.cli.options import chosen_model
from chatgpt2.engine.base import EngineOptions
from chatgpt2.errors import ChatGPT2Error, ConfigError, StoreError
from chatgpt2.gateway import Gateway
from chatgpt2.server.app import create_app
from chatgpt2.server.exchanging import Exchange
from chatgpt2.server.faults import Fault
from chatgpt2.server.ongoing import Ongoing
from chatgpt2.server.passage import Limits
from chatgpt2.server.running import address, on_signals, running
from chatgpt2.serving import Serving
from chatgpt2.store import ApiKeys, Audit, SessionStore
from chatgpt2.store.erasing import prune

_HOUR = 3600.0
_NOTICES = {
    "converting": "Preparing the model for this machine, once, for about ten seconds …",
    "slow": "OpenVINO fails, PyTorch serves: {why}",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the options say. `asking`: a key is asked for; `hosts`: the names that requests may give."""

    model: str | None
    database: str
    engine: EngineOptions
    hosts: Sequence[str]
    asking: bool
    requests_per_minute: int
    key_requests_per_minute: int
    grace: int
    timeout: int
    trusted_proxy: Sequence[str]
    allow_origin: Sequence[str]
    blocked_words: Path | None
    keep_days: int | None
    log_messages: bool
    bots: Sequence[str]


async def run(terms: Terms, bound: socket.socket) -> None:
    """Serve on this socket until a signal ends it."""
    blocked = BlockedWords.read(terms.blocked_words) if terms.blocked_words else None
    async with await SessionStore.open(terms.database) as store, AsyncExitStack() as stack:
        made = await open_bots(terms.bots, store, stack)
        path, serving = await _load(terms, None)
        service = ChatService(serving, store, blocked=blocked, timeout=terms.timeout)
        try:
            exchange = Exchange(service, lambda source: _load(terms, source), path, Audit(store), _say)
            async with forgetting(store, terms.keep_days):
                await _serve(terms, bound, service, store, exchange, Gateway(service, store, made))
        finally:
            await service.close()


async def _load(terms: Terms, source: str | None) -> tuple[str, Serving]:
    """The model in the directory `source`; None: the one of the options, or the latest."""
    path, latest = (source, False) if source is not None else chosen_model(terms.model)
    _say(f"Loading {path}{' (the latest model)' if latest else ''} …")
    from chatgpt2.loading import choose_engine, open_model  # torch takes two seconds

    if source not in (None, terms.model) and choose_engine(terms.engine)[0] == "remote":
        raise ConfigError("the model is the remote server's: exchange it there, and start this service anew")
    cache = data_folder() / "openvino"
    return path, await asyncio.to_thread(open_model, path, terms.engine, cache, notify)


async def _serve(
    terms: Terms,
    bound: socket.socket,
    service: ChatService,
    store: SessionStore,
    exchange: Exchange,
    gateway: Gateway,
) -> None:
    keys = ApiKeys(store) if terms.asking else None
    if keys and not any(key.good(datetime.now(UTC)) for key in await keys.all()):
        _say("Nobody has a key yet: `chatgpt2 keys create LABEL` makes one.")
    app = create_app(
        service,
        store,
        terms.hosts,
        keys,
        limits=Limits(
            seconds=terms.timeout,
            per_minute=terms.requests_per_minute,
            per_key=terms.key_requests_per_minute,
        ),
        origins=terms.allow_origin,
        exchange=exchange,
        gateway=gateway if terms.bots else None,
        log=_say if terms.log_messages else None,
    )
    signals = _Signals(exchange, app.ongoing, terms.grace)
    acts = dict.fromkeys(("SIGINT", "SIGTERM", "SIGBREAK"), signals.stop) | {"SIGHUP": signals.hang_up}
    with on_signals(acts):
        async with (
            gateway.running(terms.grace),
            running(app, bound, terms.grace, terms.trusted_proxy) as failed,
        ):
            _say(f"Serving {exchange.path} on {address(bound)}")
            told = asyncio.create_task(signals.told.wait())
            await asyncio.wait({failed, told}, return_when=asyncio.FIRST_COMPLETED)
            told.cancel()


@asynccontextmanager
async def forgetting(store: SessionStore, days: int | None) -> AsyncIterator[None]:
    """Meanwhile delete what is older than so many days, at once and every hour."""
    if days is None:
        yield
        return
    task = asyncio.create_task(_forget(store, days))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _forget(store: SessionStore, days: int) -> None:
    while True:
        try:
            gone = await prune(store, datetime.now(UTC) - timedelta(days=days))
            if gone.turns:
                await Audit(store).note("serve", "prune", days=days, turns=gone.turns)
        except StoreError as error:  # it is tried again in an hour
            _say(f"What is older than {days} days could not be deleted: {error}")
        await asyncio.sleep(_HOUR)


class _Signals:
    """What signals do: one stops in good order, another of these at once; SIGHUP loads the model again."""

    def __init__(self, exchange: Exchange, ongoing: Ongoing, grace: int) -> None:
        self._exchange, self._ongoing, self._grace = exchange, ongoing, grace
        self._terminal = sys.stderr.isatty()
        self._reloading: asyncio.Task[None] | None = None
        self.told = asyncio.Event()

    def stop(self) -> None:
        if self.told.is_set():
            self._ongoing.cut()
            return
        _say(f"Stopping: running replies have {self._grace} s; once more stops at once.")
        self.told.set()

    def hang_up(self) -> None:
        """A terminal that is closed sends SIGHUP too, and means the end."""
        if self._terminal and not sys.stderr.isatty():
            self.told.set()
        else:
            self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        try:
            await self._exchange.to(None, "SIGHUP")
        except Fault as busy:
            _say(str(busy))
        except ChatGPT2Error:
            return  # told already


def notify(notice: str, why: str) -> None:
    _say(_NOTICES[notice].format(why=why))


def _say(what: str) -> None:
    """To the log. A terminal that is gone must not end the service."""
    try:
        click.echo(what, err=True)
    except OSError:
        return
