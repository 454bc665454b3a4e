"""The remote engine on another chatgpt2: what it says is what that one's engine says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from callers import ENDLESS, GREEDY, WILD, engine, reply, steps
from fakes.talking import Letters
from first_tokens import SETTINGS, assert_alike, draws
from little_language import BANNED, SEP, VOCABULARY, WINDOW, prompts
from transformers import GPT2LMHeadModel

from chatgpt2.chat import ChatService
from chatgpt2.engine.base import SamplingParams
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.engine.remote import RemoteEngine
from chatgpt2.errors import EngineError
from chatgpt2.server.app import create_app
from chatgpt2.server.running import address, listen, running
from chatgpt2.serving import Serving
from chatgpt2.store import SessionStore

PROMPTS = prompts(20, seed=8)


class Little(Letters):
    """The window and the end of the little language. Text is nobody's concern here."""

    window = WINDOW
    stop_ids = (SEP,)
    banned_ids = tuple(BANNED)
    vocabulary = ("a",) * VOCABULARY


@pytest.fixture
def there(model: GPT2LMHeadModel) -> PyTorchEngine:
    return engine(model)


@pytest.fixture
async def remote(there: PyTorchEngine, tmp_path: Path) -> AsyncIterator[Any]:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        service = ChatService(Serving(there, Little(), name="little@1"), store)
        with listen("127.0.0.1", 0) as bound:
            async with running(create_app(service, store), bound, 5):
                made = RemoteEngine(
                    address(bound), window=WINDOW, vocabulary=VOCABULARY, banned_ids=BANNED, wait=0.01
                )
                yield made
                await made.close()
        await service.close()


async def test_it_says_what_the_engine_there_says(remote: Any, there: PyTorchEngine) -> None:
    for params in (GREEDY, ENDLESS, replace(WILD, seed=4), replace(GREEDY, repetition_penalty=1.5)):
        got = await asyncio.gather(*(reply(remote, prompt, params) for prompt in PROMPTS))
        assert got == [await reply(there, prompt, params) for prompt in PROMPTS]


@pytest.mark.parametrize("params", SETTINGS)
async def test_sampling_means_what_it_means_to_the_reference(
    remote: Any, there: PyTorchEngine, params: SamplingParams
) -> None:
    """With other seeds than the reference, so that equal distributions are not equal draws."""
    ours = await draws(remote, PROMPTS[0], params, each=15, first_seed=10_000)
    assert_alike(ours, await draws(there, PROMPTS[0], params, each=15))


async def test_several_replies_and_a_caller_who_leaves(remote: Any, there: PyTorchEngine) -> None:
    wild = replace(WILD, seed=9, n=3)
    got, due = await steps(remote, PROMPTS[0], wild), await steps(there, PROMPTS[0], wild)
    for index in range(3):
        assert [i for s in got if s.index == index for i in s.ids] == [
            i for s in due if s.index == index for i in s.ids
        ]
    async with aclosing(remote.generate(PROMPTS[0], ENDLESS)) as stream:
        await anext(stream)
    async with asyncio.timeout(10):
        while there._worker._running:
            await asyncio.sleep(0.01)


async def test_a_prompt_that_it_refuses_is_explained(remote: Any) -> None:
    remote._window, remote._vocabulary = 1000, 1000  # as if it did not know
    with pytest.raises(EngineError, match=r"refused \(400\).*window"):
        await reply(remote, [5] * WINDOW, GREEDY)
    with pytest.raises(EngineError, match=r"refused \(400\).*vocabulary"):
        await reply(remote, [VOCABULARY], GREEDY)
