"""What a person at the terminal of `chatgpt2 chat` waits for: from Enter to a reply's first visible character.

    python benchmarks/terminal.py [--turns 60] [--json]
    python benchmarks/terminal.py --model MODEL --corpus CORPUS [--turns 60] [--json]

The terminal with keys from a pipe, and a screen that notes when it is written to. Whoever is compared takes turns, in
one process and with the same words.

First form, what the gateway costs: a line goes straight to the chat service, as it did before there was a gateway,
and through the gateway, as it does now. 102 M random weights, OpenVINO int8, prompts of 60 tokens and more, replies
of 8. `added_ms` is the median of the differences between neighbours.

Second form, what the engine gains: a trained model, with its own sampling settings, on OpenVINO and on PyTorch (or
with `--engine` on one of them alone), hears what people said first in the dialogues of CORPUS, turn by turn, so that
histories grow. The ratios are PyTorch's time over OpenVINO's, per reply and per character.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from serve import p95, said
from serve_service import model

from chatgpt2.bots.terminal import Leave, Terminal
from chatgpt2.bots.terminal.adapter import TerminalBot
from chatgpt2.chat import ChatService
from chatgpt2.corpus import read_corpus
from chatgpt2.engine.base import EngineOptions
from chatgpt2.gateway import Bot, Gateway, Rules
from chatgpt2.loading import open_model
from chatgpt2.store import SessionKey, SessionStore

WARM_UP = 4  # turns
IN_A_SESSION = 4  # turns
ENGINES = ["openvino", "pytorch"]


class Watch(DummyOutput):
    """A screen; `first` is when a reply's first character was written."""

    def __init__(self) -> None:
        self.first = 0.0

    def write(self, data: str) -> None:
        if "机器人" in data and not self.first:
            self.first = time.perf_counter()

    def get_size(self) -> Size:
        return Size(rows=40, columns=100)


class Turn(NamedTuple):
    """One reply: seconds to its first character and to its end, and how long it became."""

    first: float
    whole: float
    characters: int


Way = Callable[[str, str], AsyncGenerator[str]]  # a session and a line: the answer so far, again and again


async def gateway_beside_none(folder: Path, turns: int) -> dict[str, float]:
    """What the gateway adds."""
    serving = model(folder)
    serving = replace(serving, defaults=replace(serving.defaults, min_new_tokens=8, max_new_tokens=8))
    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
        service, bot = ChatService(serving, store), TerminalBot()
        async with Gateway(service, None, [Bot("terminal", bot, Rules(notice=""))]).running(0):

            def straight(session: str, line: str) -> AsyncGenerator[str]:
                return service.stream(SessionKey("terminal", chat=session), line)

            lines = [(str(turn // IN_A_SESSION), said()) for turn in range(WARM_UP + turns)]
            found = await talk([straight, lambda session, line: bot.say(line, session)], lines)
        await service.close()
    before, after = ([turn.first for turn in way] for way in found)
    added = [there - here for here, there in zip(before, after, strict=True)]
    return {
        "first_character_before_ms": statistics.median(before) * 1000,
        "first_character_after_ms": statistics.median(after) * 1000,
        "added_ms": statistics.median(added) * 1000,
        "before_p95_ms": p95(before),
        "after_p95_ms": p95(after),
    }


async def engines(
    folder: Path, source: str, corpus: str, names: Sequence[str], turns: int
) -> dict[str, float]:
    """A trained model on one engine and on another."""
    async with AsyncExitStack() as stack:
        ways = [await talking(stack, folder, source, name) for name in names]
        found = await talk(ways, list(islice(first_speakers(corpus), WARM_UP + turns)))
    figures: dict[str, float] = {}
    for name, way in zip(names, found, strict=True):
        first, whole = [turn.first for turn in way], [turn.whole for turn in way]
        figures |= {
            f"{name}_first_character_ms": statistics.median(first) * 1000,
            f"{name}_first_character_p95_ms": p95(first),
            f"{name}_reply_ms": statistics.median(whole) * 1000,
            f"{name}_reply_p95_ms": p95(whole),
            f"{name}_per_character_ms": sum(whole) / sum(turn.characters for turn in way) * 1000,
        }
    if names == ENGINES:
        for what in ("first_character", "reply", "per_character"):
            figures[f"ratio_{what}"] = figures[f"pytorch_{what}_ms"] / figures[f"openvino_{what}_ms"]
    return figures


def first_speakers(corpus: str) -> Iterator[tuple[str, str]]:
    """What the one who began says, and in which dialogue."""
    for number, dialogue in enumerate(read_corpus(corpus, on_bad=lambda error: None)):
        for turn in dialogue.turns:
            if turn.role == "user":
                yield str(number), " ".join(turn.text.split())  # a line break would be Enter


async def talking(stack: AsyncExitStack, folder: Path, source: str, engine: str) -> Way:
    """The model behind a terminal bot, as `chatgpt2 chat --engine` has it; `stack` ends it."""
    serving = await asyncio.to_thread(open_model, source, EngineOptions(engine, device="cpu"), folder)
    store = await stack.enter_async_context(await SessionStore.open(f"sqlite:///{folder}/{engine}.db"))
    service, bot = ChatService(serving, store, overrides={"seed": 1}), TerminalBot()
    stack.push_async_callback(service.close)
    bots = [Bot("terminal", bot, Rules(notice=""))]
    await stack.enter_async_context(Gateway(service, None, bots).running(0))
    await bots[0].ready.wait()
    return lambda session, line: bot.say(line, session)


async def talk(ways: Sequence[Way], lines: Sequence[tuple[str, str]]) -> list[list[Turn]]:
    """Type each line once for each way, and see what comes back. The first lines only warm up."""
    watch, answered, place, session, reply = Watch(), asyncio.Event(), 0, "", ""

    async def answer(line: str) -> AsyncGenerator[str]:
        nonlocal reply
        if line == "/quit":
            raise Leave
        async for reply in ways[place](session, line):
            yield reply
        answered.set()

    found: list[list[Turn]] = [[] for _ in ways]
    with create_pipe_input() as keys:
        running = asyncio.create_task(Terminal(input=keys, output=watch).run(answer))
        for turn in range(len(lines) * len(ways)):
            number, place = divmod(turn, len(ways))
            dialogue, line = lines[number]
            session = f"{dialogue}.{place}"
            answered.clear()
            keys.send_text(line)
            await asyncio.sleep(0.1)  # the person has typed; the next thing is Enter
            watch.first, began = 0.0, time.perf_counter()
            keys.send_text("\r")
            await answered.wait()
            if number >= WARM_UP:
                found[place].append(Turn(watch.first - began, time.perf_counter() - began, len(reply)))
        keys.send_text("/quit\r")
        await running
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=60, help="of each kind")
    parser.add_argument("--model", help="a trained model: compare engines")
    parser.add_argument("--corpus", help="dialogues whose words are said to it")
    parser.add_argument("--engine", choices=ENGINES, help="only this one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if bool(args.model) != bool(args.corpus) or (args.engine and not args.model):
        parser.error("to compare engines give --model and --corpus")
    with tempfile.TemporaryDirectory() as folder:
        if args.model:
            names = [args.engine] if args.engine else ENGINES
            figures = asyncio.run(engines(Path(folder), args.model, args.corpus, names, args.turns))
        else:
            figures = asyncio.run(gateway_beside_none(Path(folder), args.turns))
    print(json.dumps(figures) if args.json else "\n".join(f"{k:34} {v:8.2f}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
