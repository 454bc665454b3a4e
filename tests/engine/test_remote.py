"""The remote engine, against a strict fake of vLLM's completions over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import psutil
import pytest
from fakes.completions import FakeCompletions, Fault, answer
from storms import storm

from chatgpt2.engine.base import SamplingParams, Step, check
from chatgpt2.engine.remote import RemoteEngine
from chatgpt2.errors import EngineBusy, EngineError

PARAMS = SamplingParams(stop_ids=(3,), max_new_tokens=20, seed=5)
PROMPT = [2, 15, 16, 3]


@pytest.fixture
async def server() -> AsyncIterator[FakeCompletions]:
    async with FakeCompletions(60, key="secret").running() as fake:
        yield fake


@pytest.fixture
async def remote(server: FakeCompletions) -> AsyncIterator[RemoteEngine]:
    made = engine(server)
    yield made
    await made.close()


def engine(server: FakeCompletions, **options: object) -> RemoteEngine:
    setting: dict[str, object] = {"window": 96, "vocabulary": 60, "key": "secret", "wait": 0.01, "timeout": 5}
    return RemoteEngine(server.url, **{**setting, "banned_ids": [0, 1, 2], **options})  # type: ignore[arg-type]


async def ask(remote: RemoteEngine, prompt: list[int], params: SamplingParams = PARAMS) -> list[Step]:
    async with aclosing(remote.generate(prompt, params)) as stream:
        return [step async for step in stream]


def ids(said: list[Step], index: int = 0) -> list[int]:
    return [token for step in said if step.index == index for token in step.ids]


async def test_ids_go_and_come_and_the_stop_id_stays_there(
    remote: RemoteEngine, server: FakeCompletions
) -> None:
    said = await ask(remote, PROMPT)
    assert (ids(said), said[-1].finish) == (answer(PROMPT), "stop")
    assert len(said) == 6  # streamed, not at once
    (body,) = server.bodies
    assert body["model"] == "little"
    assert body["logit_bias"] == {"0": -100.0, "1": -100.0, "2": -100.0}
    assert (body["seed"], body["stop_token_ids"], body["top_k"]) == (5, [3], PARAMS.top_k)


async def test_every_caller_gets_its_own(remote: RemoteEngine) -> None:
    asked = [[2, i % 57 + 3, 3] for i in range(60)]
    replies = await asyncio.gather(*(ask(remote, prompt) for prompt in asked))
    assert [ids(said) for said in replies] == [answer(prompt) for prompt in asked]
    three = await ask(remote, PROMPT, replace(PARAMS, n=3))
    assert [ids(three, i) for i in range(3)] == [answer(PROMPT, i) for i in range(3)]


async def test_a_reply_that_is_cut_ends_with_length(remote: RemoteEngine) -> None:
    said = await ask(remote, PROMPT, replace(PARAMS, max_new_tokens=2))
    assert said[-1].finish == "length"


FAULTS: list[Fault] = [
    "500", "503", "507", "429", "hang up", "break off", "no ids", "refuse", "error", "garbage",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
async def test_everyone_gets_their_own_tokens_in_order_once(server: FakeCompletions, seed: int) -> None:
    """1,000 requests in four storms; the server refuses, breaks off and talks nonsense. Nothing is left behind."""
    rng, open_files = random.Random(seed), psutil.Process().num_fds()
    remote = engine(server, wait=0.001)
    said = [[2, *rng.sample(range(4, 60), 5), 3] for _ in range(40)]
    known = [(prompt, answer(prompt)) for prompt in said]

    def befall(number: int) -> None:
        if rng.random() < 0.3:
            server.faults.append(rng.choice(FAULTS))

    ended = await storm(remote, rng, known, PARAMS, befall)
    assert all(ended[why] for why in ("complete", "left", "cancelled", "failed"))
    server.faults.clear()
    assert ids(await ask(remote, PROMPT)) == answer(PROMPT)
    await remote.close()
    async with asyncio.timeout(20):
        while server.connections or psutil.Process().num_fds() > open_files:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("fault", ["500", "503", "507", "429", "hang up"])
async def test_what_fails_before_the_first_token_is_asked_again(
    remote: RemoteEngine, server: FakeCompletions, fault: str
) -> None:
    server.faults.extend([fault, fault])  # type: ignore[list-item]
    assert ids(await ask(remote, PROMPT)) == answer(PROMPT)
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("fault", "asked", "why"),
    [
        ("503", 4, "does not answer now .503: the model is loading"),
        ("hang up", 4, "cannot be reached"),
        ("refuse", 1, "refused .400.: the context is too long"),
        ("break off", 1, "broke off in a reply"),
        ("no ids", 1, "no token ids back: .* return_token_ids"),
        ("error", 1, "EngineDeadError"),
        ("garbage", 1, "no completion: not json"),
    ],
)
async def test_what_cannot_be_had_says_why(
    remote: RemoteEngine, server: FakeCompletions, fault: str, asked: int, why: str
) -> None:
    server.faults.extend([fault] * 4)  # type: ignore[list-item]
    with pytest.raises(EngineError, match=why):
        await ask(remote, PROMPT)
    assert len(server.bodies) == asked


async def test_it_waits_as_long_as_the_server_asks_for_unless_that_is_too_long(
    remote: RemoteEngine, server: FakeCompletions, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", wait)
    server.retry_after = 7
    server.faults.extend(["503", "429"])
    assert ids(await ask(remote, PROMPT)) == answer(PROMPT)
    assert waits == [7, 7]
    server.retry_after = 3600
    server.faults.append("429")
    with pytest.raises(EngineBusy, match="try again in 3600 seconds"):
        await ask(remote, PROMPT)
    assert waits == [7, 7] and len(server.bodies) == 4


async def test_a_server_that_stays_busy_is_busy(remote: RemoteEngine, server: FakeCompletions) -> None:
    server.faults.extend(["429"] * 4)
    with pytest.raises(EngineBusy):
        await ask(remote, PROMPT)


async def test_a_token_that_does_not_come_in_time_is_an_error(server: FakeCompletions) -> None:
    impatient = engine(server, timeout=0.05)
    server.faults.extend(["hold"] * 4)
    with pytest.raises(EngineError, match=r"cannot be reached .*ReadTimeout"):
        await ask(impatient, PROMPT)
    await impatient.close()


async def test_leaving_ends_the_request_there_too(remote: RemoteEngine, server: FakeCompletions) -> None:
    server.faults.append("hold")
    async with aclosing(remote.generate(PROMPT, PARAMS)) as stream:
        await anext(stream)
    async with asyncio.timeout(5):
        await server.left.wait()


async def test_nobody_there_wrong_key_wrong_model(server: FakeCompletions) -> None:
    nowhere = RemoteEngine("http://127.0.0.1:9", window=96, vocabulary=60, attempts=2, wait=0.01)
    with pytest.raises(EngineError, match=r"cannot be reached .*is the server running"):
        await ask(nowhere, PROMPT)
    with pytest.raises(EngineError, match=r"refused .401.: Unauthorized"):
        await ask(engine(server, key="wrong"), PROMPT)
    with pytest.raises(EngineError, match="The model `other` does not exist"):
        await ask(engine(server, model="other"), PROMPT)


async def test_whether_the_server_would_answer_is_found_out_and_known_for_a_while(
    server: FakeCompletions, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = engine(server)
    await check(known)
    known._url = "http://127.0.0.1:9/v1"
    await check(known)  # it was just asked
    monkeypatch.setattr("chatgpt2.engine.remote._FRESH_SECONDS", -1)
    with pytest.raises(EngineError, match="cannot be reached"):
        await check(known)
    with pytest.raises(EngineError, match=r"refused .401.: Unauthorized"):
        await check(engine(server, key="wrong"))
    await known.close()
    with pytest.raises(EngineError, match="the engine is closed"):
        await check(known)


async def test_what_it_cannot_do_is_refused_before_anything_is_sent(
    remote: RemoteEngine, server: FakeCompletions
) -> None:
    for prompt, params, why in (
        ([], PARAMS, "empty"),
        ([5] * 96, PARAMS, "window"),
        ([60], PARAMS, "outside"),
        (PROMPT, replace(PARAMS, no_repeat_ngram=2), "no_repeat_ngram"),
    ):
        with pytest.raises(EngineError, match=why):
            await ask(remote, prompt, params)
    assert not server.bodies
    await remote.close()
    with pytest.raises(EngineError, match="closed"):
        await ask(remote, PROMPT)


def test_one_engine_serves_one_event_loop_after_another() -> None:
    async def talk(remote: RemoteEngine | None) -> RemoteEngine:
        async with FakeCompletions(60).running() as fake:
            made = remote or RemoteEngine(fake.url, window=96, vocabulary=60)
            if remote is None:
                assert ids(await ask(made, PROMPT)) == answer(PROMPT)
            else:
                made._url = f"{fake.url}/v1"
                assert ids(await ask(made, PROMPT)) == answer(PROMPT)
                await made.close()
            return made

    asyncio.run(talk(asyncio.run(talk(None))))
