"""What serving costs: turns through HTTP beside the bare engine, many sessions, many waiting clients.

    python benchmarks/serve.py [--parts engine overhead sessions idle] [--rounds 3] [--json]

The service runs in a process of its own, with SQLite in a temporary folder; this process is the load. Each turn is a
POST /api/sessions/ID/messages on a connection that stays open, read as a stream until the reply is stored.

engine    102 M random weights, OpenVINO int8, prompts of 60 tokens, replies of exactly 32: tokens/s of 32 sessions
          through HTTP, and of 32 callers of the bare engine inside the service, in turns; the median of the rounds
overhead  an engine that answers at once. overhead_p95_ms_N: a whole turn with N turns always in flight (each client
          begins the next when it has its reply, so it is also N over the turns a second that the machine can do);
          steady_p95_ms: with 100 turns a second that come at random. cpu_ms: what a turn costs the service's process
sessions  turns in 10 of the sessions, where 10, 100, 1,000 and 10,000 sessions of 50 turns are in the database
idle      1,000 clients whose replies have begun and do not go on: what they cost in memory
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from serve_load import Service, serving

from chatgpt2.server.running import run_on_fastest_loop

CALLERS, REPLY, PROMPT = 32, 32, 58  # characters, which with [CLS] and [SEP] make 60 tokens
TURNS = 1_600  # turns that a latency is measured on
SESSIONS = 200  # in which they are said, so that each has eight exchanges at the end
STEADY, STEADY_TURNS = 100, 600  # turns a second, and how many
STORED = (10, 100, 1_000, 10_000)
STORED_TURNS = 50
WAITING = 1_000


def said() -> str:
    """Fresh text of Han characters, so that no prefix is known."""
    return "".join(chr(random.randint(0x4E00, 0x4E00 + 20_000)) for _ in range(PROMPT))


async def measure_engine(folder: Path, rounds: int) -> dict[str, float]:
    through, bare = [], []
    async with serving("model", folder) as service:
        for number in range(rounds + 1):  # the first one warms up
            sessions = await service.new_sessions(CALLERS)
            began = time.perf_counter()
            await asyncio.gather(*(service.turn(session, said()) for session in sessions))
            http = CALLERS * REPLY / (time.perf_counter() - began)
            engine = await service.tell("engine")
            progress(f"engine: {http:.0f} tokens/s through HTTP, {engine:.0f} bare")
            if number:
                through.append(http)
                bare.append(engine)
    fractions = [a / b for a, b in zip(through, bare, strict=True)]
    return {
        "engine_fraction_32": statistics.median(fractions),
        "http_tokens_per_second": statistics.median(through),
        "engine_tokens_per_second": statistics.median(bare),
    }


async def latencies(service: Service, sessions: list[str], in_flight: int, turns: int = TURNS) -> list[float]:
    """Seconds of turns, `in_flight` of them at every moment."""
    found: list[float] = []

    async def talk(own: list[str]) -> None:
        for session in itertools.cycle(own):
            if len(found) >= turns:
                return
            found.append(await timed(service, session))

    await asyncio.gather(*(talk(sessions[number::in_flight]) for number in range(in_flight)))
    return found


async def steady(service: Service, sessions: list[str]) -> list[float]:
    """Seconds of turns that begin at random moments, whether or not the ones before are done."""
    loop, begun = asyncio.get_running_loop(), []
    due = loop.time()
    for number in range(STEADY_TURNS):
        due += random.expovariate(STEADY)
        await asyncio.sleep(due - loop.time())
        begun.append(asyncio.create_task(timed(service, sessions[number % len(sessions)])))
    return await asyncio.gather(*begun)


async def timed(service: Service, session: str) -> float:
    began = time.perf_counter()
    await service.turn(session, "你好")
    return time.perf_counter() - began


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1] * 1000


async def measure_overhead(folder: Path, rounds: int) -> dict[str, float]:
    found = {}
    async with serving("instant", folder) as service:
        await latencies(service, await service.new_sessions(SESSIONS), CALLERS)
        for in_flight in (1, 8, CALLERS):
            sessions = [await service.new_sessions(SESSIONS) for _ in range(rounds)]
            each, cpu, began = [], await service.tell("cpu"), time.perf_counter()
            for fresh in sessions:
                each.append(await latencies(service, fresh, in_flight))
                progress(f"overhead: {in_flight} in flight, p95 {p95(each[-1]):.1f} ms")
            seconds, turns = time.perf_counter() - began, sum(map(len, each))
            found[f"overhead_p95_ms_{in_flight}"] = statistics.median(map(p95, each))
            found[f"overhead_p50_ms_{in_flight}"] = 1000 * statistics.median(map(statistics.median, each))
            found[f"turns_per_second_{in_flight}"] = turns / seconds
            found[f"cpu_ms_{in_flight}"] = 1000 * (await service.tell("cpu") - cpu) / turns
        evenly = [await steady(service, await service.new_sessions(SESSIONS)) for _ in range(rounds)]
        found["steady_p95_ms"] = statistics.median(map(p95, evenly))
        found["steady_p50_ms"] = 1000 * statistics.median(map(statistics.median, evenly))
    return found


async def measure_sessions(folder: Path, rounds: int) -> dict[str, float]:
    found = {}
    for before, count in pairwise((0, *STORED)):
        progress(f"sessions: storing {count}")
        await fill(folder, range(before, count))
        os.sync()  # else the disk is still at it while turns wait for theirs
        async with serving("instant", folder) as service:
            await latencies(service, await service.new_sessions(1), 1, 50)
            # Sessions in which nothing has been said since they were stored, so that all counts meet the same.
            chosen = [f"{number:032x}" for number in range(before, count, (count - before) // 10)][:10]
            each = [[await timed(service, session) for session in chosen * 10] for _ in range(rounds)]
            found[f"turn_ms_{count}_sessions"] = 1000 * statistics.median(map(statistics.median, each))
            progress(f"sessions: {count} stored, {found[f'turn_ms_{count}_sessions']:.2f} ms a turn")
    return found


async def fill(folder: Path, numbers: range) -> None:
    """Store sessions of 50 turns."""
    from sqlalchemy import insert

    from chatgpt2.store import SessionStore
    from chatgpt2.store.tables import sessions, turns

    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store, store.writing() as db:
        now = datetime.now(UTC)
        for number in numbers:
            key = {"platform": "web", "account": "", "chat": f"{number:032x}", "thread": ""}
            row = insert(sessions).values(**key, settings={}, created=now, last_active=now)
            own = (await db.execute(row.returning(sessions.c.id))).scalar_one()
            said = [
                {
                    "session_id": own,
                    "position": position,
                    "role": ("user", "bot")[position % 2],
                    "text": "今天天气怎么样，我们出去走走吧",
                    "created": now,
                }
                for position in range(STORED_TURNS)
            ]
            await db.execute(insert(turns), said)


async def measure_idle(folder: Path, rounds: int) -> dict[str, float]:
    del rounds  # memory does not vary
    async with serving("silent", folder) as service:
        sessions = await service.new_sessions(WAITING)
        before = await service.tell("memory")
        clients = [await service.connect() for _ in sessions]
        for client, session in zip(clients, sessions, strict=True):
            await client.begin_turn(session)
        progress(f"idle: {len(clients)} wait")
        after = await service.tell("memory")
        for client in clients:
            client.transport.close()
    return {"idle_streams_mb": (after - before) / 1e6}


def progress(what: str) -> None:
    """A line of its own where nobody watches, else always the same one."""
    print(
        f"\r{what:70}" if sys.stderr.isatty() else what,
        end="" if sys.stderr.isatty() else "\n",
        file=sys.stderr,
    )
    sys.stderr.flush()


def allow_files(count: int) -> None:
    """A connection is a file, on both sides."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


PARTS: dict[str, Callable[[Path, int], Coroutine[Any, Any, dict[str, float]]]] = {
    "engine": measure_engine,
    "overhead": measure_overhead,
    "sessions": measure_sessions,
    "idle": measure_idle,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    allow_files(2 * WAITING + 200)
    if args.be:
        from serve_service import be

        run_on_fastest_loop(be(args.be, args.folder))
        return
    found: dict[str, float] = {}
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            figures = run_on_fastest_loop(PARTS[part](Path(folder), args.rounds))
        progress("")
        if not args.json:
            print("\n".join(f"{name:28} {value:10.3f}" for name, value in figures.items()), flush=True)
        found |= figures
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
