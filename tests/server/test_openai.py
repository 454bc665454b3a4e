"""What programs written for the OpenAI API get: the official client is the judge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fakes.talking import Letters, Scripted
from openai import AsyncOpenAI
from serving import served

from chatgpt2.dialogue import Turn
from chatgpt2.engine.base import SamplingParams
from chatgpt2.errors import EngineBusy, EngineError, PromptError, ReplyStopped, ReplyTimeout

HELLO: Any = [{"role": "user", "content": "你好"}]


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


@pytest.fixture
async def url(engine: Scripted, tmp_path: Path) -> AsyncIterator[str]:
    async with served(tmp_path, engine, opening=(Turn("user", "你是谁"), Turn("bot", "小智"))) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


async def test_the_model_is_listed(client: AsyncOpenAI) -> None:
    assert [model.id async for model in await client.models.list()] == ["小智"]
    assert (await client.models.retrieve("小智")).owned_by == "chatgpt2"
    with pytest.raises(openai.NotFoundError, match="not served here"):
        await client.models.retrieve("gpt-5")


async def test_a_conversation_is_answered(client: AsyncOpenAI, engine: Scripted) -> None:
    engine.replies = ["你好呀"]
    messages: Any = [
        {"role": "system", "content": "你是一个助手"},
        {"role": "user", "content": [{"type": "text", "text": "在"}, {"type": "text", "text": "吗"}]},
        {"role": "assistant", "content": "在"},
        {"role": "user", "content": "你好"},
        {"role": "user", "content": "呀"},
    ]
    answer = await client.chat.completions.create(model="小智", messages=messages)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant",
        "你好呀",
        "stop",
    )
    prompt, params = engine.asked[0]
    assert prompt == "你是谁|小智|在吗|在|你好\n呀"
    assert params.stop_ids == (0,)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), 3)
    assert answer.usage.total_tokens == len(prompt) + 3
    assert answer.model == "小智" and answer.id.startswith("chatcmpl-")


async def test_a_reply_can_be_watched(client: AsyncOpenAI, engine: Scripted) -> None:
    engine.replies = ["一二三四"]
    stream = await client.chat.completions.create(
        model="小智", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "一二三四"
    assert len(deltas) == 5
    assert [delta.role for delta in deltas] == ["assistant", None, None, None, None]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 4
    assert len({chunk.id for chunk in chunks}) == 1


async def test_settings_reach_the_engine(client: AsyncOpenAI, engine: Scripted) -> None:
    await client.chat.completions.create(
        model="小智@1",
        messages=HELLO,
        temperature=0.3,
        top_p=0.5,
        max_completion_tokens=7,
        seed=11,
        user="someone",
        safety_identifier="somebody",
        store=False,
        extra_body={"top_k": -1, "repetition_penalty": 1.5, "of_a_later_version": {"a": 1}},
    )
    params = engine.asked[0][1]
    assert (params.temperature, params.top_p, params.max_new_tokens, params.seed) == (0.3, 0.5, 7, 11)
    assert (params.top_k, params.repetition_penalty) == (0, 1.5)
    await client.chat.completions.create(model="小智", messages=HELLO, max_tokens=100_000)
    assert engine.asked[1][1].max_new_tokens == Letters.window // 2


@pytest.mark.parametrize("stream", [False, True])
async def test_stop_strings_end_the_reply(client: AsyncOpenAI, engine: Scripted, stream: bool) -> None:
    engine.replies = ["甲乙丙丁戊"]
    answer: Any = await client.chat.completions.create(
        model="小智", messages=HELLO, stop=["丙丁", "没有"], stream=stream
    )
    if stream:
        chunks = [chunk async for chunk in answer]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "甲乙"
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("甲乙", "stop")
    async with asyncio.timeout(5):
        while engine.running:
            await asyncio.sleep(0.01)


async def test_one_stop_string_is_enough(client: AsyncOpenAI, engine: Scripted) -> None:
    engine.replies = ["甲乙丙", "甲乙丙"]
    chat = await client.chat.completions.create(model="小智", messages=HELLO, stop="乙")
    assert (chat.choices[0].message.content, chat.choices[0].finish_reason) == ("甲", "stop")
    text = await client.completions.create(model="小智", prompt="你", stop="乙丙")
    assert (text.choices[0].text, text.choices[0].finish_reason) == ("甲", "stop")


async def test_several_replies_to_one_message(client: AsyncOpenAI, engine: Scripted) -> None:
    engine.replies = ["一二三", "四"]
    answer = await client.chat.completions.create(model="小智", messages=HELLO, n=2)
    assert [(c.index, c.message.content, c.finish_reason) for c in answer.choices] == [
        (0, "一二三", "stop"),
        (1, "四", "stop"),
    ]
    assert answer.usage is not None and answer.usage.completion_tokens == 4
    engine.replies = ["一二三", "四"]
    stream = await client.chat.completions.create(model="小智", messages=HELLO, n=2, stream=True)
    choices = [chunk.choices[0] async for chunk in stream]
    assert ["".join(c.delta.content or "" for c in choices if c.index == i) for i in (0, 1)] == [
        "一二三",
        "四",
    ]
    assert [[c.index for c in choices if c.delta.role], [c.index for c in choices if c.finish_reason]] == [
        [0, 1],
        [0, 1],
    ]
    assert [params.n for _, params in engine.asked] == [2, 2]


async def test_a_text_that_goes_on_can_be_watched(client: AsyncOpenAI, engine: Scripted) -> None:
    engine.replies = ["很好"]
    stream = await client.completions.create(
        model="小智", prompt="今天", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert [c.text for chunk in chunks for c in chunk.choices] == ["很", "好", ""]
    assert [chunk.object for chunk in chunks] == ["text_completion"] * 4
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 4


async def test_a_text_goes_on(client: AsyncOpenAI, engine: Scripted) -> None:
    engine.replies = ["真好", "真好"]
    answer = await client.completions.create(model="小智", prompt="今天天气", max_tokens=5)
    assert answer.choices[0].text == "真好"
    assert engine.asked[0][0] == "今天天气"
    ids: Any = [ord(letter) for letter in "今天"]
    answer = await client.completions.create(
        model="小智", prompt=ids, extra_body={"return_token_ids": True, "stop_token_ids": [9]}
    )
    extra = answer.choices[0].model_extra
    assert extra is not None and extra["token_ids"] == [ord("真"), ord("好")]
    assert engine.asked[1][1].stop_ids == (9,)


@pytest.mark.parametrize(
    ("wrong", "param", "why"),
    [
        ({"model": "gpt-5"}, "model", "not served here"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages", "messages"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "在"}]}, "messages", "must be the user's"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "text"),
        ({"temperature": 11}, "temperature", "less than or equal to 10"),
        ({"temperature": "hot"}, "temperature", "number"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"max_tokens": 0}, "max_tokens", "greater"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"tools": [{"type": "function"}]}, None, "tools is not offered"),
        ({"response_format": {"type": "json_object"}}, None, "response_format is not offered"),
        ({"logprobs": True}, None, "logprobs is not offered"),
        ({"presence_penalty": 1}, None, "presence_penalty is not offered"),
        ({"logit_bias": {"5": 100}}, None, "logit_bias is not offered"),
        ({"stop": "啊" * 1001}, "stop", "at most 1000"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    url: str, engine: Scripted, wrong: dict[str, Any], param: str | None, why: str
) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/v1/chat/completions", json={"model": "小智", "messages": HELLO} | wrong)
    assert answer.status_code == (404 if "model" in wrong else 400)
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert why in error["message"]
    assert param is None or (error["param"] or "").startswith(param)
    assert not engine.asked


async def test_harmless_values_of_what_is_not_offered_pass(url: str) -> None:
    harmless = {"tools": [], "tool_choice": "none", "logprobs": False, "presence_penalty": 0, "stop": None}
    async with httpx.AsyncClient(base_url=url) as http:
        body = {"model": "小智", "messages": HELLO, "response_format": {"type": "text"}} | harmless
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        assert (await http.post("/v1/chat/completions", content=b"{")).status_code == 400
        missing = await http.get("/v1/nothing")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, None)


class Failing(Scripted):
    """An engine that fails, at once or after some tokens."""

    def __init__(self, error: Exception, after: str = "") -> None:
        super().__init__(after)
        self.error = error

    async def generate(self, prompt_ids: Any, params: SamplingParams) -> Any:
        async for step in super().generate(prompt_ids, params):
            if step.finish:
                raise self.error
            yield step


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineBusy("the engine is busy"), 429, "server_busy"),
        (PromptError("longer than the model's window"), 400, "context_length_exceeded"),
        (ReplyTimeout("it took too long"), 504, "timeout"),
        (ReplyStopped("somebody stopped it"), 409, "stopped"),
        (EngineError("the step failed"), 500, "internal_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_fails_is_told(
    tmp_path: Path, error: Exception, status: int, code: str, stream: bool
) -> None:
    async with served(tmp_path, Failing(error)) as url, httpx.AsyncClient(base_url=url) as http:
        body = {"model": "小智", "messages": HELLO, "stream": stream}
        answer = await http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert str(error) in answer.json()["error"]["message"]
    assert ("retry-after" in answer.headers) == (status == 429)


async def test_a_failure_in_the_middle_of_a_stream_is_its_last_event(tmp_path: Path) -> None:
    broken = Failing(EngineError("the step failed"), after="甲乙")
    got = []
    async with (
        served(tmp_path, broken) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(model="小智", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="the step failed"):
            async for chunk in stream:
                got.append(chunk.choices[0].delta.content)
    assert got == ["甲", "乙"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_engine(url: str, engine: Scripted, stream: bool) -> None:
    engine.pause = asyncio.Event()
    body = {"model": "小智", "messages": HELLO, "stream": stream}
    async with httpx.AsyncClient(base_url=url) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/v1/chat/completions", json=body, timeout=0.3)
    async with asyncio.timeout(5):
        while engine.running or not engine.asked:
            await asyncio.sleep(0.01)


async def test_running_replies_end_before_the_server_does(tmp_path: Path, engine: Scripted) -> None:
    engine.replies, engine.pause = ["一二三"], asyncio.Event()
    async with httpx.AsyncClient() as http:
        async with served(tmp_path, engine) as url:
            body = {"model": "小智", "messages": HELLO}
            asking = asyncio.create_task(http.post(f"{url}/v1/chat/completions", json=body))
            while not engine.running:
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.3, engine.pause.set)
        answer = await asking
    assert answer.json()["choices"][0]["message"]["content"] == "一二三"


async def test_a_request_that_is_too_large_is_not_read(url: str, engine: Scripted) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b" " * (1 << 20)

    async with httpx.AsyncClient(base_url=url) as http:
        announced = await http.post("/v1/completions", content=b" " * (5 << 20))
        assert (announced.status_code, announced.json()["error"]["code"]) == (413, "request_too_large")
        assert (await http.post("/v1/completions", content=endless())).status_code == 413
    assert not engine.asked


async def test_a_bias_that_would_change_the_reply_is_refused(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        for bias, status in (
            ({"1": -100}, 200),
            ({"100001": -100}, 200),
            ({"5": -100}, 400),
            ({"1": 3}, 400),
        ):
            body = {"model": "小智", "prompt": "你", "logit_bias": bias}
            assert (await http.post("/v1/completions", json=body)).status_code == status


async def test_methods_that_nobody_knows_are_one_label(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        await http.request("PURGE", "/healthz")
        refused = await http.post("/")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
        said = (await http.get("/metrics")).text
    assert 'method="other"' in said and "PURGE" not in said
