"""What serving costs: turns through HTTP beside the bare engine, many sessions, many waiting clients.

    python benchmarks/serve.py [--parts engine overhead sessions idle] [--rounds 3] [--json]

The service runs in a process of its own, with SQLite in a temporary folder; this process is the load. Each turn is a
POST /api/sessions/ID/messages read as a stream until it is stored.

engine    102 M random weights, OpenVINO int8, prompts of 60 tokens, replies of exactly 32: tokens/s of 32 sessions
          through HTTP, and of 32 callers of the bare engine inside the service, in turns; the median of the rounds
overhead  an engine that answers at once: seconds of a whole turn with 1, 8 and 32 turns always in flight
sessions  the same with 10, 100, 1,000 and 10,000 sessions of 50 turns in the database, one turn in flight
idle      1,000 clients whose replies do not come: what they cost in memory
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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CALLERS, REPLY, PROMPT = 32, 32, 58  # characters, which with [CLS] and [SEP] make 60 tokens
TURNS = 400  # turns that a latency is measured on
STORED = (10, 100, 1_000, 10_000)
STORED_TURNS = 50
WAITING = 1_000


class Service:
    """The service in its process: asked over HTTP, and for figures of itself over a pipe."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self.port = process, port

    async def tell(self, what: str) -> float:
        """A figure: "engine" tokens/s of the bare engine, "memory" bytes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return float(await self._process.stdout.readline())

    async def new_session(self) -> str:
        answer = await self._ask("POST", "/api/sessions", {})
        return str(json.loads(answer)["id"])

    async def turn(self, session: str, text: str) -> str:
        """Say something; the last event."""
        body = {"text": text, "stream": True}
        answer = await self._ask("POST", f"/api/sessions/{session}/messages", body)
        events = [line for line in answer.splitlines() if line.startswith("data: {")]
        assert answer.endswith("data: [DONE]\n\n\r\n0\r\n\r\n") or "[DONE]" in answer, answer[-300:]
        return events[-1]

    async def open_stream(self, session: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A turn whose head has come, and nothing else."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(_request("POST", f"/api/sessions/{session}/messages", {"text": "在吗", "stream": True}))
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def _ask(self, method: str, path: str, body: Any) -> str:
        """One request on a connection of its own, as small as it can be: the load must not be what is measured."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(_request(method, path, body, close=True))
        answer = (await reader.read()).decode()
        writer.close()
        head, _, rest = answer.partition("\r\n\r\n")
        assert head.split(" ", 2)[1] in ("200", "201"), answer[:400]
        return rest


def _request(method: str, path: str, body: Any, close: bool = False) -> bytes:
    content = json.dumps(body, ensure_ascii=False).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += "Connection: close\r\n" if close else ""
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def serving(kind: str, folder: Path) -> AsyncIterator[Service]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--be", kind, "--folder", str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        yield Service(process, int(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()


def said() -> str:
    """Fresh text of Han characters, so that no prefix is known."""
    return "".join(chr(random.randint(0x4E00, 0x4E00 + 20_000)) for _ in range(PROMPT))


async def measure_engine(folder: Path, rounds: int) -> dict[str, float]:
    through, bare = [], []
    async with serving("model", folder) as service:
        for number in range(rounds + 1):  # the first one warms up
            sessions = [await service.new_session() for _ in range(CALLERS)]
            began = time.perf_counter()
            await asyncio.gather(*(service.turn(session, said()) for session in sessions))
            http = CALLERS * REPLY / (time.perf_counter() - began)
            engine = await service.tell("engine")
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

    async def talk(session: str) -> None:
        while len(found) < turns:
            began = time.perf_counter()
            await service.turn(session, "你好")
            found.append(time.perf_counter() - began)

    await asyncio.gather(*(talk(session) for session in sessions[:in_flight]))
    return found


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1] * 1000


async def measure_overhead(folder: Path, rounds: int) -> dict[str, float]:
    found = {}
    async with serving("instant", folder) as service:
        sessions = [await service.new_session() for _ in range(CALLERS)]
        await latencies(service, sessions, CALLERS)
        for in_flight in (1, 8, CALLERS):
            each = [await latencies(service, sessions, in_flight) for _ in range(rounds)]
            found[f"overhead_p95_ms_{in_flight}"] = statistics.median(p95(one) for one in each)
            found[f"overhead_p50_ms_{in_flight}"] = 1000 * statistics.median(
                statistics.median(one) for one in each
            )
    return found


async def measure_sessions(folder: Path, rounds: int) -> dict[str, float]:
    found = {}
    for count in STORED:
        await fill(folder, count)
        async with serving("instant", folder) as service:
            sessions = [await service.new_session() for _ in range(2)]
            await latencies(service, sessions, 1, 50)
            each = [await latencies(service, sessions, 1, 100) for _ in range(rounds)]
            found[f"turn_ms_{count}_sessions"] = 1000 * statistics.median(
                statistics.median(one) for one in each
            )
    return found


async def fill(folder: Path, count: int) -> None:
    """As many sessions of 50 turns as are missing."""
    from sqlalchemy import func, insert, select

    from chatgpt2.store import SessionStore
    from chatgpt2.store.tables import sessions, turns

    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store, store.writing() as db:
        now = datetime.now(UTC)
        there = (await db.execute(select(func.count()).select_from(sessions))).scalar_one()
        for number in range(there, count):
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
    async with serving("silent", folder) as service:
        sessions = [await service.new_session() for _ in range(WAITING)]
        before = await service.tell("memory")
        streams = [await service.open_stream(session) for session in sessions]
        after = await service.tell("memory")
        for _, writer in streams:
            writer.close()
    return {"idle_streams_mb": (after - before) / 1e6}


PARTS: dict[str, Callable[[Path, int], Awaitable[dict[str, float]]]] = {
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
    if args.be:
        from serve_service import be

        asyncio.run(be(args.be, args.folder))
        return
    found: dict[str, float] = {}
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            figures = asyncio.run(PARTS[part](Path(folder), args.rounds))
        if not args.json:
            print("\n".join(f"{name:28} {value:10.3f}" for name, value in figures.items()), flush=True)
        found |= figures
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
