from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from callers import ENDLESS, engine, note_threads, reply
from little_language import one_thread, prompts, trained_model
from transformers import GPT2LMHeadModel


@pytest.fixture(autouse=True)
def single_threaded() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def own_threads() -> None:
    note_threads()


@pytest.fixture(scope="session")
def model() -> GPT2LMHeadModel:
    return trained_model()


@pytest.fixture(scope="session")
def endless(model: GPT2LMHeadModel) -> list[list[int]]:
    """What each of `prompts(12, seed=5)` gets from an engine that has nothing else to do."""

    async def ask_all() -> list[list[int]]:
        quiet = engine(model)
        replies = [await reply(quiet, prompt, ENDLESS) for prompt in prompts(12, seed=5)]
        await quiet.close()
        return replies

    return asyncio.run(ask_all())
