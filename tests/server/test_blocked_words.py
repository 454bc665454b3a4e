"""Blocked words are neither answered nor said to clients of the OpenAI API; the official client is the judge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes.talking import Scripted
from openai import AsyncOpenAI
from serving import served

from chatgpt2.chat import DECLINED

WORDS = ("敏感词", "ass")


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


@pytest.fixture
async def client(engine: Scripted, tmp_path: Path) -> AsyncIterator[AsyncOpenAI]:
    async with (
        served(tmp_path, engine, blocked=WORDS) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield client


async def chat(client: AsyncOpenAI, *said: str, n: int = 1, stream: bool = False) -> list[tuple[str, str]]:
    """The texts and finish reasons of the answers to the last of these messages."""
    roles = ("user", "assistant")
    messages: Any = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    answer: Any = await client.chat.completions.create(
        model="小智", messages=messages, n=n, stream=stream, seed=7
    )
    if not stream:
        return [(choice.message.content, choice.finish_reason) for choice in answer.choices]
    texts, finishes = [""] * n, [""] * n
    async for chunk in answer:
        for choice in chunk.choices:
            assert not finishes[choice.index], "nothing comes after the end"
            texts[choice.index] += choice.delta.content or ""
            finishes[choice.index] = choice.finish_reason or ""
            assert "敏感词" not in texts[choice.index].replace(" ", "")
    return list(zip(texts, finishes, strict=True))


async def text(client: AsyncOpenAI, stream: bool, prompt: Any, **more: Any) -> tuple[str, str]:
    answer: Any = await client.completions.create(model="小智", prompt=prompt, stream=stream, **more)
    if not stream:
        return answer.choices[0].text, answer.choices[0].finish_reason
    chunks = [chunk.choices[0] async for chunk in answer]
    return "".join(chunk.text for chunk in chunks), chunks[-1].finish_reason


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_message_is_not_answered(client: AsyncOpenAI, engine: Scripted, stream: bool) -> None:
    assert await chat(client, "说说敏 感 词", n=2, stream=stream) == [(DECLINED, "content_filter")] * 2
    assert await text(client, stream, "敏感词是") == (DECLINED, "content_filter")
    assert not engine.asked


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_hits_at_once_is_generated_again(
    client: AsyncOpenAI, engine: Scripted, stream: bool
) -> None:
    engine.replies = ["敏 感词很多", "今天很好"]
    assert await chat(client, "你好", stream=stream) == [("今天很好", "stop")]
    (first, second) = (params for _, params in engine.asked)
    assert (first.seed, second.seed) == (7, 8)
    engine.replies = ["敏感词", "天气很好"]
    assert await text(client, stream, "今天") == ("天气很好", "stop")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_cannot_be_said_is_replaced(
    client: AsyncOpenAI, engine: Scripted, stream: bool
) -> None:
    engine.replies = ["敏感词"] * 3
    assert await chat(client, "你好", stream=stream) == [(DECLINED, "content_filter")]
    assert len(engine.asked) == 3 and not engine.running


async def test_a_stream_ends_before_a_word_and_never_begins_it(client: AsyncOpenAI, engine: Scripted) -> None:
    engine.replies = ["我说敏感词吧"]
    assert await chat(client, "你好", stream=True) == [("我说", "content_filter")]
    engine.replies = ["敏感的人，assist，敏"]  # what only begins like a word is held back, and then said
    assert await chat(client, "你好", stream=True) == [("敏感的人，assist，敏", "stop")]
    engine.replies = ["an ass"]  # whether this is the word, the end tells
    assert await chat(client, "你好", stream=True) == [("an ", "content_filter")]


async def test_of_several_replies_only_the_one_that_hits_is_made_anew(
    client: AsyncOpenAI, engine: Scripted
) -> None:
    for stream in (False, True):
        engine.replies = ["敏感词", "第二", "第一"]
        assert await chat(client, "你好", n=2, stream=stream) == [("第一", "stop"), ("第二", "stop")]
        assert [params.n for _, params in engine.asked[-2:]] == [2, 1]


async def test_the_model_does_not_see_earlier_exchanges_with_a_word(
    client: AsyncOpenAI, engine: Scripted
) -> None:
    await chat(client, "在吗", "在", "说敏感词", DECLINED, "几点了", "敏感词", "你好")
    assert engine.asked[0][0] == "在吗|在|你好"


@pytest.mark.parametrize("stream", [False, True])
async def test_another_chatgpt2_gets_what_the_engine_says(
    client: AsyncOpenAI, engine: Scripted, stream: bool
) -> None:
    engine.replies = ["敏感词"] * 2
    ids = [ord(letter) for letter in "敏感词"]
    assert (await text(client, stream, ids))[0] == "敏感词"
    again = await text(client, stream, "敏感词", extra_body={"return_token_ids": True})
    assert again == ("敏感词", "stop")
