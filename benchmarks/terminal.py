"""What the gateway costs the person at the terminal: from Enter to the first visible character of the reply.

    python benchmarks/terminal.py [--turns 60] [--json]

The terminal of `chatgpt2 chat` with keys from a pipe, and a screen that notes when it is written to. By turns a line
goes straight to the chat service, as it did before there was a gateway, and through the gateway, as it does now: the
same process, model, database file and words. 102 M random weights, OpenVINO int8, prompts of 60 tokens and more,
replies of 8. `added_ms` is the median of the differences between neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from serve import p95, said
from serve_service import model

from chatgpt2.bots.terminal import Leave, Terminal
from chatgpt2.bots.terminal.adapter import TerminalBot
from chatgpt2.chat import ChatService
from chatgpt2.gateway import Bot, Gateway, Rules
from chatgpt2.store import SessionKey, SessionStore

WARM_UP = 4  # turns
IN_A_SESSION = 4  # turns


class Watch(DummyOutput):
    """A screen; `first` is when a reply's first character was written."""

    def __init__(self) -> None:
        self.first = 0.0

    def write(self, data: str) -> None:
        if "机器人" in data and not self.first:
            self.first = time.perf_counter()

    def get_size(self) -> Size:
        return Size(rows=40, columns=100)


async def measure(folder: Path, turns: int) -> dict[str, float]:
    serving = model(folder)
    serving = replace(serving, defaults=replace(serving.defaults, min_new_tokens=8, max_new_tokens=8))
    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
        service, bot = ChatService(serving, store), TerminalBot()
        async with Gateway(service, None, [Bot("terminal", bot, Rules(notice=""))]).running(0):
            found = await talk(service, bot, turns)
        await service.close()
    before, after = found
    added = [there - here for here, there in zip(before, after, strict=True)]
    return {
        "first_character_before_ms": statistics.median(before) * 1000,
        "first_character_after_ms": statistics.median(after) * 1000,
        "added_ms": statistics.median(added) * 1000,
        "before_p95_ms": p95(before),
        "after_p95_ms": p95(after),
    }


async def talk(service: ChatService, bot: TerminalBot, turns: int) -> tuple[list[float], list[float]]:
    """Seconds to the first character: straight, and through the gateway."""
    watch, found, answered, turn, words = Watch(), ([], []), asyncio.Event(), 0, ""

    async def answer(line: str) -> AsyncGenerator[str]:
        if line == "/quit":
            raise Leave
        session = f"{turn // (2 * IN_A_SESSION)}.{turn % 2}"
        straight = service.stream(SessionKey("terminal", chat=session), line)
        async for so_far in bot.say(line, session) if turn % 2 else straight:
            yield so_far
        answered.set()

    with create_pipe_input() as keys:
        running = asyncio.create_task(Terminal(input=keys, output=watch).run(answer))
        for turn in range(2 * (WARM_UP + turns)):
            if turn % 2 == 0:
                words = said()
            answered.clear()
            keys.send_text(words)
            await asyncio.sleep(0.1)  # the person has typed; the next thing is Enter
            watch.first, began = 0.0, time.perf_counter()
            keys.send_text("\r")
            await answered.wait()
            if turn >= 2 * WARM_UP:
                found[turn % 2].append(watch.first - began)
        keys.send_text("/quit\r")
        await running
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=60, help="of each kind")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), args.turns))
    print(json.dumps(figures) if args.json else "\n".join(f"{k:28} {v:8.2f}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
