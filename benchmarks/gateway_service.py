"""The gateway that benchmarks/gateway.py measures: says that it is ready, then answers the lines on its input.

gateway_service.py model|instant FOLDER URL TOKEN
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import psutil
from gateway import REPLY, said
from serve_service import _without_model, model

from chatgpt2.chat import ChatService
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import Engine
from chatgpt2.gateway import Gateway, make_bot
from chatgpt2.serving import Serving
from chatgpt2.store import SessionStore


async def be(kind: str, folder: Path, url: str, token: str) -> None:
    """Run the bot until the input ends."""
    serving = model(folder) if kind == "model" else _without_model("instant")
    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
        service = ChatService(serving, store)
        bot, client = make_bot("telegram", {"token": token, "base-url": url, "notice": ""}, store)
        async with client, Gateway(service, store, [bot]).running(0):
            await bot.ready.wait()
            print("ready", flush=True)
            while what := (await asyncio.to_thread(sys.stdin.readline)).split():
                print(await _figure(what, serving), flush=True)
        await service.close()


async def _figure(what: list[str], serving: Serving) -> float:
    if what[0] == "engine":
        return await _bare(serving, int(what[1]), int(what[2]))
    times = psutil.Process().cpu_times()
    return times.user + times.system


async def _bare(serving: Serving, callers: int, turns: int) -> float:
    """Tokens/s of so many callers of the engine itself, each with a conversation of so many turns."""
    room = serving.room(serving.defaults)

    async def one(engine: Engine) -> int:
        made, dialogue = 0, Dialogue()
        for _ in range(turns):
            dialogue = dialogue.say("user", said())
            prompt = serving.codec.prompt(dialogue, room)
            ids = [i async for step in engine.generate(prompt, serving.defaults) for i in step.ids]
            decoder = serving.codec.decoder()
            dialogue = dialogue.say("bot", decoder.push(ids) + decoder.finish())
            made += len(ids)
        return made

    began = time.perf_counter()
    made = await asyncio.gather(*(one(serving.engine) for _ in range(callers)))
    assert made == [REPLY * turns] * callers, made
    return sum(made) / (time.perf_counter() - began)


if __name__ == "__main__":
    asyncio.run(be(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
