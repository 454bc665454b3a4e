"""The crash test: people write on the fake Telegram while processes are killed; afterwards everything is counted."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fakes.forking import Forks, end, forking
from fakes.reciting import Recital, answer, message, model
from fakes.telegram import FakeTelegram
from sqlalchemy import select

from chatgpt2.bots.telegram import Telegram
from chatgpt2.gateway.splitting import split
from chatgpt2.store import Mailbox, SessionKey, SessionStore
from chatgpt2.store.mail_tables import inbox, outbox, queues

USERS = range(10, 30)
_LONGEST_ROUND = 1.0  # seconds until somebody is killed, at most
_BACKLOG = 2 * len(USERS)  # messages that wait, before the next round begins
_PATIENCE = 120.0  # seconds without any answer after which the rest counts as lost
_CALM = 0.5  # seconds in which nothing more must come

Piece = tuple[int, int, int]  # of an answer: user, message, place


@dataclass
class Count:
    """What became of the messages. `ambiguous_repeats`: pieces that came twice because their sender was killed
    before it knew that they had arrived."""

    rounds: int = 0
    messages: int = 0
    pieces: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    ambiguous_repeats: int = 0
    killed: int = 0
    remarks: list[str] = field(default_factory=list)


class Crashes:
    """One crash test. `seed` decides who writes when and who is killed when."""

    def __init__(
        self, fake: FakeTelegram, forks: Forks, store: SessionStore, args: list[str], seed: int
    ) -> None:
        self._fake, self._forks, self._store, self._args = fake, forks, store, args
        self._random = random.Random(seed)
        self._asked: dict[int, list[str]] = {user: [] for user in USERS}
        self._unknown: Counter[Piece] = Counter()
        self._pieces: dict[str, Piece] = {}
        self._lasts: set[str] = set()
        self._ended: set[str] = set()  # that people have got
        self._looked: Counter[int] = Counter()
        self._processes: list[int] = []
        self.count = Count()

    async def run(self, rounds: int, processes: int, told: Callable[[str], None]) -> Count:
        """Let people write and processes die; wait for the last answer, and count."""
        for _ in range(processes):
            self._processes.append(await self._forks.start(*self._args))
        for number in range(rounds):
            began = time.monotonic()
            await self._round()
            done, asked = self._answered(), self.count.messages
            seconds = time.monotonic() - began
            told(f"round {number + 1}/{rounds}: {asked} messages, {done} answered, {seconds:.1f} s")
        await self._until(lambda: self._answered() >= self.count.messages)
        await self._rest()
        for pid in self._processes:
            await end(pid, signal.SIGTERM)
        self._judge()
        await self._read_record()
        self.count.rounds = rounds
        return self.count

    async def _round(self) -> None:
        ends = self._random.uniform(0, _LONGEST_ROUND)
        writing = [asyncio.create_task(self._write(user, self._random.uniform(0, ends))) for user in USERS]
        await asyncio.sleep(ends)
        count = len(self._processes)
        victims = self._random.choice(
            [[0]] if count == 1 else [*([each] for each in range(count)), [*range(count)]]
        )
        for victim in victims:
            await end(self._processes[victim], signal.SIGKILL)
        await asyncio.gather(*writing)
        for victim in victims:
            await self._note_unknown(self._processes[victim])
            self._processes[victim] = await self._forks.start(*self._args)
            self.count.killed += 1
        self._fake.calls.clear()
        await self._until(lambda: self._answered() + _BACKLOG >= self.count.messages)

    async def _write(self, user: int, after: float) -> None:
        await asyncio.sleep(after)
        text = message(user, len(self._asked[user]))
        pieces = split(answer(text), Telegram.limits)
        self._pieces |= {piece: (user, len(self._asked[user]), place) for place, piece in enumerate(pieces)}
        self._lasts.add(pieces[-1])
        self.count.pieces += len(pieces)
        self._asked[user].append(text)
        self.count.messages += 1
        self._fake.say(user, text)

    async def _note_unknown(self, pid: int) -> None:
        """The pieces of which this process did not know yet whether they had arrived."""
        chosen = (
            select(outbox.c.text)
            .join(queues, queues.c.id == outbox.c.queue_id)
            .where(outbox.c.begun, outbox.c.done.is_(None), queues.c.owner.contains(f"-{pid}-"))
        )
        async with self._store.reading() as db:
            self._unknown.update(self._pieces[text] for text in await db.scalars(chosen))

    def _answered(self) -> int:
        """Messages whose last piece is there."""
        for user in USERS:
            said = self._fake.said(user)
            self._ended.update(said[self._looked[user] :])
            self._looked[user] = len(said)
        return len(self._ended & self._lasts)

    async def _until(self, what: Callable[[], bool]) -> None:
        """Wait for it, as long as answers come."""
        before, since = -1, time.monotonic()
        while not what():
            if (now := len(self._ended)) != before:
                before, since = now, time.monotonic()
            if time.monotonic() - since > _PATIENCE:
                self.count.remarks.append(f"nothing came for {_PATIENCE:g} s")
                return
            await asyncio.sleep(0.02)

    async def _rest(self) -> None:
        """Wait until the database has nothing left to do, and then a little."""
        mailbox, ends = Mailbox(self._store), time.monotonic() + _PATIENCE
        while await mailbox.pending() != (0, 0) and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        await asyncio.sleep(_CALM)

    def _judge(self) -> None:
        for user in USERS:
            said = self._fake.said(user)
            self.count.remarks += [f"nobody asked for {text!r}" for text in said if text not in self._pieces]
            got = [self._pieces[text] for text in said if text in self._pieces]
            times, due = Counter(got), list(dict.fromkeys(got))
            expected = sorted(piece for piece in self._pieces.values() if piece[0] == user)
            missing = {piece[1] for piece in expected if piece not in times}
            self.count.lost += len(missing)
            self.count.out_of_order += due != sorted(due)
            for piece, count in times.items():
                repeats = min(count - 1, self._unknown[piece])
                self.count.ambiguous_repeats += repeats
                self.count.doubled += count - 1 - repeats

    async def _read_record(self) -> None:
        """The conversations as they are kept: every message once, in order, with its answer."""
        async with self._store.reading() as db:
            kept = await db.execute(select(inbox.c.message_id))
            if len(kept.all()) != self.count.messages:
                self.count.remarks.append("the inbox does not have every message once")
        for user in USERS:
            dialogue = await self._store.load(SessionKey("telegram", str(self._fake.me["id"]), str(user)))
            expected = [each for text in self._asked[user] for each in (text, answer(text))]
            if [turn.text for turn in dialogue.turns] != expected:
                self.count.remarks.append(f"the record of user {user} is not what was said")


@asynccontextmanager
async def crashing(folder: Path, database: str, seed: int) -> AsyncIterator[Crashes]:
    """A crash test on this database, with everything it needs in `folder`."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeTelegram().running())
        recital = await stack.enter_async_context(Recital().running())
        store = await stack.enter_async_context(await SessionStore.open(database))
        forks = await stack.enter_async_context(forking(folder, {"CHATGPT2_HOME": str(folder)}))
        (folder / "token").write_text(fake.token)
        settings = {"token-file": str(folder / "token"), "base-url": fake.url, "notice": ""}
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        (folder / "chatgpt2.toml").write_text(f"[bots.telegram]\n{lines}waiting = 10000\n")
        for user in USERS:
            fake.person(user)
        engine = ["--engine", "remote", "--engine-url", recital.url, "--model", str(model(folder / "model"))]
        args = ["bot", "run", "telegram", "--database", database, *engine]
        yield Crashes(fake, forks, store, args, seed)
