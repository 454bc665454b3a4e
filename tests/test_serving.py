"""Exchanging real models under a reply: it ends on its own, and then nothing of the old one is left in memory."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from fakes.tiny import tiny_model

from chatgpt2.chat import ChatService
from chatgpt2.engine.base import EngineOptions
from chatgpt2.engine.openvino import OpenVinoEngine
from chatgpt2.engine.pytorch import PyTorchEngine
from chatgpt2.loading import open_model, openvino_installed
from chatgpt2.serving import Serving
from chatgpt2.store import SessionKey, SessionStore

RUNNING, NEXT = SessionKey("terminal", chat="甲"), SessionKey("terminal", chat="乙")


@pytest.fixture(autouse=True)
def single_threaded() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)  # the option below is the whole program's


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed at once, not when the collector comes by."""
    gc.disable()
    yield
    gc.enable()


def opened(folder: Path, engine: str, name: str) -> Serving:
    return open_model(tiny_model(folder, name), EngineOptions(engine, device="cpu", threads=1), folder)


@asynccontextmanager
async def in_the_middle_of_a_reply(
    folder: Path, serving: Serving
) -> AsyncIterator[tuple[ChatService, AsyncIterator[str]]]:
    """A service whose first reply has begun; the service keeps the model, and nobody else does."""
    settings = {"max_new_tokens": 60, "seed": 1}
    async with await SessionStore.open(f"sqlite:///{folder}/talk.db") as store:
        chat = ChatService(serving, store, overrides=settings)
        del serving
        async with aclosing(chat.stream(RUNNING, "你好")) as texts:
            assert await anext(texts)
            yield chat, texts
        await chat.close()


@pytest.mark.skipif(not openvino_installed(), reason="openvino-genai is not installed")
async def test_the_old_models_process_ends_with_its_last_reply(tmp_path: Path) -> None:
    def process(serving: Serving) -> psutil.Process:
        assert isinstance(serving.engine, OpenVinoEngine) and serving.engine._replies._child is not None
        return psutil.Process(serving.engine._replies._child._process.pid)

    old, new = opened(tmp_path, "openvino", "旧"), opened(tmp_path, "openvino", "新")
    its, other = process(old), process(new)
    async with in_the_middle_of_a_reply(tmp_path, old) as (chat, texts):
        await chat.exchange(new)
        assert await chat.reply(NEXT, "你好")
        assert its.is_running()
        assert [text async for text in texts]
        assert not its.is_running() and other.is_running()
        assert await chat.reply(RUNNING, "再说")
    assert not other.is_running()


async def test_the_old_models_weights_are_gone_with_its_last_reply(
    tmp_path: Path, no_collector: None
) -> None:
    def weights(serving: Serving) -> list[weakref.ref[Any]]:
        assert isinstance(serving.engine, PyTorchEngine)
        forward = serving.engine._batch._model
        return [weakref.ref(each) for each in (forward, forward._tokens, forward._blocks[0].attend)]

    old = opened(tmp_path, "pytorch", "旧")
    its = weights(old)
    async with in_the_middle_of_a_reply(tmp_path, old) as (chat, texts):
        del old
        await chat.exchange(opened(tmp_path, "pytorch", "新"))
        assert await chat.reply(NEXT, "你好")
        assert all(each() is not None for each in its)
        assert [text async for text in texts]
        async with asyncio.timeout(20):  # the thread that has closed the engine lets go of it a moment later
            while any(each() is not None for each in its):
                await asyncio.sleep(0.001)
        assert await chat.reply(RUNNING, "再说")
