"""The service that benchmarks/serve.py measures: says its port, then answers the lines on its input."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import psutil

from chatgpt2.chat import ChatService
from chatgpt2.codec import Codec
from chatgpt2.engine.base import Engine, SamplingParams, Step
from chatgpt2.server.app import LOOPBACK, create_app
from chatgpt2.server.running import listen, running
from chatgpt2.serving import Serving
from chatgpt2.store import SessionStore
from chatgpt2.vocabulary import SPECIAL

VOCABULARY = 21128


class Instant:
    """Answers at once."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        yield Step(self._ids, "stop")

    async def close(self) -> None:
        pass


class Silent(Instant):
    """Begins to answer, and does not go on."""

    async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
        yield Step(self._ids, None)
        await asyncio.get_running_loop().create_future()
        yield Step([], "stop")


async def be(kind: str, folder: Path) -> None:
    """Serve until the input ends."""
    serving = model(folder) if kind == "model" else _without_model(kind)
    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
        service = ChatService(serving, store)
        app = create_app(service, store, LOOPBACK)
        with listen("127.0.0.1", 0) as bound:
            async with running(app, bound, 0):
                print(bound.getsockname()[1], flush=True)
                while what := (await asyncio.to_thread(sys.stdin.readline)).strip():
                    print(await _figure(what, serving), flush=True)
        await service.close()


async def _figure(what: str, serving: Serving) -> float:
    if what == "engine":
        return await _bare(serving)
    process = psutil.Process()
    return process.memory_info().rss if what == "memory" else sum(process.cpu_times()[:2])


def _codec() -> Codec:
    """A character is a token, and nearly every token a Han character: what random weights say is text."""
    han = [chr(code) for code in range(0x4E00, 0x9FFF)]
    entries = [*SPECIAL, *"，。？！", *han]
    return Codec([*entries, *(f"[unused{n}]" for n in range(VOCABULARY - len(entries)))])


def _without_model(kind: str) -> Serving:
    codec = _codec()
    ids = codec.begin("你好呀")[1:]
    return Serving(Silent(ids) if kind == "silent" else Instant(ids), codec)


def model(folder: Path) -> Serving:
    """102 M random weights on OpenVINO, int8, in this folder."""
    from decode import EXACTLY, random_model

    from chatgpt2.engine.export import exported
    from chatgpt2.engine.openvino import OpenVinoEngine

    codec = _codec()
    files = exported(random_model("102m"), folder / "102m", weights="int8", banned_ids=codec.banned_ids)
    engine = OpenVinoEngine(files, window=codec.window, vocabulary=VOCABULARY, max_batch=64)
    return Serving(engine, codec, EXACTLY)


async def _bare(serving: Serving) -> float:
    """Tokens/s of 32 callers of the engine itself."""
    from serve import CALLERS, REPLY, said

    from chatgpt2.dialogue import Dialogue

    async def one(engine: Engine) -> int:
        prompt = serving.codec.prompt(Dialogue.of([said()]), 1_000)
        return sum([len(step.ids) async for step in engine.generate(prompt, serving.defaults)])

    began = time.perf_counter()
    made = await asyncio.gather(*(one(serving.engine) for _ in range(CALLERS)))
    assert made == [REPLY] * CALLERS, made
    return sum(made) / (time.perf_counter() - began)
