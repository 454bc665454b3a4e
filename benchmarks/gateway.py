"""What the bots' gateway costs: 200 chats at once on a fake Telegram, beside the bare engine.

    python benchmarks/gateway.py [--chats 200] [--turns 2] [--rounds 3] [--json]

102 M random weights, OpenVINO int8, replies of exactly 32 tokens. The gateway with its Telegram adapter runs in a
process of its own, with SQLite in a temporary folder, previews, "is typing" and feedback buttons as they are by
default; the strict fake of the Bot API, which is the tests', runs in another on the same machine.

engine_fraction_200   tokens/s through the gateway, over those of as many callers of the bare engine in the same
                      process with conversations of the same lengths; each chat says its next line when it has the
                      answer to the last; each round has new chats; median of the rounds
overhead_p95_ms       an engine that answers at once, and one chat: from a message at the fake server to the answer
                      there, 95 %
cpu_ms_per_message    of the gateway's process, with that engine and all chats at once
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes.telegram import FakeTelegram

REPLY, PROMPT = 32, 58  # tokens; characters of a message, which with [CLS] and [SEP] make 60
ALONE = 100  # messages of one chat, that a latency is measured on


class Service:
    """The gateway in its process: asked for figures over a pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, what: str) -> float:
        """A figure: "engine N" tokens/s of N callers of the bare engine, "cpu" seconds so far."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return float(await self._process.stdout.readline())


@asynccontextmanager
async def serving(kind: str, folder: Path, url: str, token: str) -> AsyncIterator[Service]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).parent / "gateway_service.py"), kind, str(folder), url, token),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        await process.stdout.readline()
        yield Service(process)
    finally:
        process.stdin.close()
        await process.wait()


class People(FakeTelegram):
    """Telegram, and who writes to the bot."""

    def __init__(self, chats: int) -> None:
        super().__init__()
        self._chats, self._first = chats, 0
        self.strangers()

    def strangers(self) -> None:
        """From now on others write, who have said nothing yet."""
        self._first += 1_000
        self._answered = {self._first + chat: asyncio.Event() for chat in range(self._chats)}
        for chat in self._answered:
            self.person(chat)

    def _send_message(self, fields: dict[str, Any]) -> dict[str, Any]:
        sent = super()._send_message(fields)
        self._answered[fields["chat_id"]].set()
        return sent

    async def talk(self, turns: int, most: int | None = None) -> list[float]:
        """The chats (so many of them) say lines, each its next one when it has the answer to the last; seconds to
        each answer."""
        chats = list(self._answered)[:most]
        return [
            each
            for found in await asyncio.gather(*(self._chat(chat, turns) for chat in chats))
            for each in found
        ]

    async def _chat(self, chat: int, turns: int) -> list[float]:
        found = []
        for _ in range(turns):
            self._answered[chat].clear()
            began = time.perf_counter()
            self.say(chat, said())
            await self._answered[chat].wait()
            found.append(time.perf_counter() - began)
        return found


def said() -> str:
    """Fresh text of Han characters, so that no prefix is known."""
    return "".join(chr(random.randint(0x4E00, 0x4E00 + 20_000)) for _ in range(PROMPT))


async def measure_engine(folder: Path, chats: int, turns: int, rounds: int) -> dict[str, float]:
    people = People(chats)
    through, bare = [], []
    async with people.running(), serving("model", folder, people.url, people.token) as service:
        for number in range(rounds + 1):  # the first one warms up
            began = time.perf_counter()
            await people.talk(turns)
            gateway = chats * turns * REPLY / (time.perf_counter() - began)
            people.strangers()
            engine = await service.tell(f"engine {chats} {turns}")
            name = f"round {number} of {rounds}" if number else "warming up"
            print(f"engine, {name}: {gateway:.0f} and {engine:.0f} tokens/s", file=sys.stderr, flush=True)
            if number:
                through.append(gateway)
                bare.append(engine)
    fractions = [a / b for a, b in zip(through, bare, strict=True)]
    return {
        f"engine_fraction_{chats}": statistics.median(fractions),
        "gateway_tokens_per_second": statistics.median(through),
        "engine_tokens_per_second": statistics.median(bare),
    }


async def measure_overhead(folder: Path, chats: int, turns: int, rounds: int) -> dict[str, float]:
    people = People(chats)
    async with people.running(), serving("instant", folder, people.url, people.token) as service:
        await people.talk(turns)
        alone = [await people.talk(ALONE, 1) for _ in range(rounds)]
        before, own = await service.tell("cpu"), psutil.Process().cpu_times()
        together = await people.talk(turns)
        count, after, now = len(together), await service.tell("cpu"), psutil.Process().cpu_times()
    return {
        "overhead_p95_ms": statistics.median(1000 * statistics.quantiles(each, n=20)[-1] for each in alone),
        "overhead_p50_ms": statistics.median(1000 * statistics.median(each) for each in alone),
        "cpu_ms_per_message": 1000 * (after - before) / count,
        "fake_cpu_ms_per_message": 1000 * (now.user + now.system - own.user - own.system) / count,
    }


PARTS = {"engine": measure_engine, "overhead": measure_overhead}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--chats", type=int, default=200)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found: dict[str, float] = {}
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            figures = asyncio.run(PARTS[part](Path(folder), args.chats, args.turns, args.rounds))
        if not args.json:
            print("\n".join(f"{name:28} {value:10.3f}" for name, value in figures.items()), flush=True)
        found |= figures
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
