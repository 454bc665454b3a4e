"""Conversations that the service keeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fakes.talking import Scripted
from serving import served

from chatgpt2.cli import cli
from chatgpt2.errors import EngineBusy

API = "/api/sessions"


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


@pytest.fixture
async def http(engine: Scripted, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with served(tmp_path, engine) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def made(http: httpx.AsyncClient, title: str | None = None) -> str:
    answer = await http.post(API, json={"title": title})
    assert answer.status_code == 201
    return str(answer.json()["id"])


async def say(http: httpx.AsyncClient, session: str, text: str, **more: Any) -> str:
    answer = await http.post(f"{API}/{session}/messages", json={"text": text, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


async def exported(folder: Path) -> list[list[str]]:
    """What `chatgpt2 db export` writes."""
    command = [
        "db",
        "export",
        str(folder / "all.jsonl"),
        "--force",
        "--database",
        f"sqlite:///{folder}/talk.db",
    ]
    done = await asyncio.to_thread(CliRunner().invoke, cli, command)
    assert done.exit_code == 0, done.output
    lines = (folder / "all.jsonl").read_text(encoding="utf-8").splitlines()
    return [[each["content"] for each in json.loads(line)["messages"]] for line in lines]


async def texts(http: httpx.AsyncClient, session: str) -> list[str]:
    return [turn["text"] for turn in (await http.get(f"{API}/{session}")).json()["said"]]


async def test_a_session_is_made_talked_in_and_found_again(http: httpx.AsyncClient, engine: Scripted) -> None:
    session = await made(http, "第一次")
    engine.replies = ["你好呀", "很好"]
    assert await say(http, session, "你好") == "你好呀"
    assert await say(http, session, "怎么样") == "很好"
    assert engine.asked[1][0] == "你好|你好呀|怎么样"
    whole = (await http.get(f"{API}/{session}")).json()
    assert (whole["title"], whole["turns"]) == ("第一次", 4)
    assert [turn["role"] for turn in whole["said"]] == ["user", "bot"] * 2
    other = await made(http)
    listed = (await http.get(API)).json()
    assert [each["id"] for each in listed] == [other, session]
    assert len((await http.get(API, params={"limit": 1})).json()) == 1


async def test_opting_out_over_http_keeps_words_out_of_the_export(
    http: httpx.AsyncClient, engine: Scripted, tmp_path: Path
) -> None:
    session = await made(http)
    engine.replies = ["你好呀", "在的"]
    assert await say(http, session, "你好", commands=True) == "你好呀"
    assert await exported(tmp_path) == [["你好", "你好呀"]]
    assert "/加入训练" in await say(http, session, "／退出训练", commands=True)
    assert await say(http, session, "在吗") == "在的"
    assert await exported(tmp_path) == []
    assert "/退出训练" in await say(http, session, "/optin", commands=True)
    assert await exported(tmp_path) == [["你好", "你好呀", "在吗", "在的"]]


async def test_a_reply_comes_as_events(http: httpx.AsyncClient, engine: Scripted) -> None:
    session = await made(http)
    engine.replies = ["一二三"]
    body = {"text": "数数", "stream": True}
    async with http.stream("POST", f"{API}/{session}/messages", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") async for line in answer.aiter_lines() if line]
    assert lines.pop() == "[DONE]"
    assert [json.loads(line)["text"] for line in lines] == ["一", "一二", "一二三", "一二三"]
    assert await texts(http, session) == ["数数", "一二三"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "a"}',
        b'{"text": "a", "text": "b", "more": [NaN, 1e999]}',
        b'{"text": "\\ud800a"}',
        b'{"text": 1}',
        b'{"text": "a", "stream": 0}',
        b'{"text": "a", "message_id": ""}',
        b'{"text": "a", "more": ' + b"[" * 300 + b"]" * 300 + b"}",
        '{"text": "a"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"text"',
        b'"a"',
        b"",
    ],
)
async def test_the_short_way_and_fastapis_own_take_the_same_and_refuse_alike(
    http: httpx.AsyncClient, engine: Scripted, body: bytes
) -> None:
    engine.replies = ["好"] * 2
    for place in (await made(http), "no-id"):
        answers = [
            await http.post(f"{API}/{place}/messages", content=body, headers={"Content-Type": kind})
            for kind in ("application/json", "application/json;own=way")
        ]
        assert answers[0].status_code == answers[1].status_code in (200, 400)
        assert answers[0].json() == answers[1].json()


async def test_the_same_message_is_answered_once(http: httpx.AsyncClient, engine: Scripted) -> None:
    session = await made(http)
    both = await asyncio.gather(*(say(http, session, "在吗", message_id="a") for _ in range(2)))
    assert both[0] == both[1]
    assert len(engine.asked) == 1


async def test_what_was_said_can_be_taken_back_and_answered_anew(
    http: httpx.AsyncClient, engine: Scripted
) -> None:
    session = await made(http)
    engine.replies = ["一", "二", "三"]
    await say(http, session, "甲")
    await say(http, session, "乙")
    assert (await http.post(f"{API}/{session}/retry")).json() == {"text": "三"}
    assert await texts(http, session) == ["甲", "一", "乙", "三"]
    assert (await http.post(f"{API}/{session}/undo")).json() == {"user": "乙", "bot": "三"}
    assert (await http.post(f"{API}/{session}/clear")).json()["turns"] == 0
    assert (await http.post(f"{API}/{session}/undo")).json() == {"user": None, "bot": None}
    empty = await http.post(f"{API}/{session}/retry", params={"stream": True})
    assert (empty.status_code, empty.json()["error"]["code"]) == (409, "empty_session")


async def test_a_session_is_renamed_and_deleted(http: httpx.AsyncClient) -> None:
    session = await made(http)
    await say(http, session, "你好")
    assert (await http.patch(f"{API}/{session}", json={"title": "新"})).json()["title"] == "新"
    assert (await http.patch(f"{API}/{session}", json={"title": None})).json()["title"] is None
    assert (await http.delete(f"{API}/{session}")).status_code == 204
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/undo"),
        ("POST", "/clear"),
        ("POST", "/retry"),
    ):
        answer = await http.request(method, f"{API}/{session}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session_not_found")
    assert (await http.get(API)).json() == []


@pytest.mark.parametrize(
    "body",
    [{}, {"text": ""}, {"text": " \n"}, {"text": "a" * 10_001}, {"text": 5}, {"text": "a", "message_id": ""}],
)
async def test_bad_messages_are_refused(
    http: httpx.AsyncClient, engine: Scripted, body: dict[str, Any]
) -> None:
    session = await made(http)
    answer = await http.post(f"{API}/{session}/messages", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert not engine.asked
    assert (await http.post(f"{API}/nonsense/messages", json={"text": "a"})).status_code == 400


async def test_a_busy_engine_is_told_and_nothing_is_stored(tmp_path: Path) -> None:
    class Busy(Scripted):
        async def generate(self, prompt_ids: Any, params: Any) -> Any:
            raise EngineBusy("the engine is busy")
            yield

    async with served(tmp_path, Busy()) as url, httpx.AsyncClient(base_url=url) as http:
        session = await made(http)
        for stream in (False, True):
            answer = await http.post(f"{API}/{session}/messages", json={"text": "你好", "stream": stream})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert await texts(http, session) == []


async def test_a_reader_who_leaves_stops_the_reply_and_nothing_is_stored(
    http: httpx.AsyncClient, engine: Scripted
) -> None:
    session = await made(http)
    engine.replies, engine.pause = ["很长的回答"], asyncio.Event()
    body = {"text": "讲个故事", "stream": True}
    async with http.stream("POST", f"{API}/{session}/messages", json=body) as answer:
        async for _ in answer.aiter_lines():
            break
    async with asyncio.timeout(5):
        while engine.running:
            await asyncio.sleep(0.01)
    assert await texts(http, session) == []


async def test_what_may_be_done_with_a_path_is_told(http: httpx.AsyncClient) -> None:
    answer = await http.request("PUT", f"{API}/{'0' * 32}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PATCH")


async def test_what_was_deleted_stays_deleted(http: httpx.AsyncClient, engine: Scripted) -> None:
    session = await made(http)
    engine.replies, engine.pause = ["一二三"], asyncio.Event()
    first = asyncio.create_task(say(http, session, "数数"))
    while not engine.running:
        await asyncio.sleep(0.01)
    deleting = asyncio.create_task(http.delete(f"{API}/{session}"))
    await asyncio.sleep(0.1)
    late = asyncio.create_task(http.post(f"{API}/{session}/messages", json={"text": "还在吗"}))
    await asyncio.sleep(0.1)
    engine.pause.set()
    assert await first == "一二三"
    assert (await deleting).status_code == 204
    assert (await late).status_code == 404
    assert (await http.get(f"{API}/{session}")).status_code == 404


def own(whole: dict[str, Any]) -> dict[str, float]:
    """The settings that the session has itself."""
    return {name: value for name, value in whole["settings"].items() if value is not None}


async def test_settings_and_persona_belong_to_a_session(http: httpx.AsyncClient, engine: Scripted) -> None:
    session = await made(http, "原来的")
    whole = (await http.get(f"{API}/{session}")).json()
    assert (own(whole), whole["persona"]) == ({}, None)
    persona = [{"user": "你是谁", "bot": "我叫小智"}]
    changed = {"settings": {"temperature": 0.3, "top_k": 5}, "persona": persona}
    whole = (await http.patch(f"{API}/{session}", json=changed)).json()
    assert (own(whole), whole["persona"], whole["title"]) == (
        {"temperature": 0.3, "top_k": 5},
        persona,
        "原来的",
    )
    await say(http, session, "你好")
    prompt, params = engine.asked[0]
    assert (prompt, params.temperature, params.top_k) == ("你是谁|我叫小智|你好", 0.3, 5)
    whole = (await http.patch(f"{API}/{session}", json={"settings": None, "persona": None})).json()
    assert (own(whole), whole["persona"]) == ({}, None)


@pytest.mark.parametrize(
    ("changed", "status", "field"),
    [
        ({"settings": {"temperature": 99}}, 400, "settings"),
        ({"settings": {"colour": 1}}, 400, "settings"),
        ({"settings": {"top_k": "5"}}, 400, "settings"),
        ({"settings": {"max_new_tokens": 1000}}, 409, "settings"),
        ({"persona": [{"bot": "早"}]}, 400, "persona"),
        ({"persona": [{"user": "长" * 999, "bot": "早"}]}, 409, "persona"),
    ],
)
async def test_what_cannot_work_changes_nothing(
    http: httpx.AsyncClient, changed: Any, status: int, field: str
) -> None:
    session = await made(http)
    answer = await http.patch(f"{API}/{session}", json=changed)
    assert answer.status_code == status
    assert answer.json()["error"]["param"].startswith(field)
    whole = (await http.get(f"{API}/{session}")).json()
    assert (own(whole), whole["persona"]) == ({}, None)


async def test_a_reply_gets_an_opinion(http: httpx.AsyncClient) -> None:
    session = await made(http)
    await say(http, session, "你好")
    opinion = {"turn": 1, "verdict": "down", "text": "太短"}
    assert (await http.post(f"{API}/{session}/feedback", json=opinion)).status_code == 204
    said = (await http.get(f"{API}/{session}")).json()["said"]
    assert [(turn["id"], turn["verdict"]) for turn in said] == [(0, None), (1, "down")]
    await http.post(f"{API}/{session}/feedback", json={"turn": 1})
    assert (await http.get(f"{API}/{session}")).json()["said"][1]["verdict"] is None
    for turn in (0, 7):
        answer = await http.post(f"{API}/{session}/feedback", json={"turn": turn, "verdict": "up"})
        assert answer.status_code == 409


async def test_commands_are_done_where_they_are_asked_for(http: httpx.AsyncClient, engine: Scripted) -> None:
    session = await made(http)
    engine.replies = ["你好呀", "是斜杠", "再答"]
    await say(http, session, "你好")
    assert await say(http, session, "/重置") == "是斜杠"
    assert await say(http, session, "／重试", commands=True) == "再答"
    body = {"text": "/重置", "commands": True}
    answer = (await http.post(f"{API}/{session}/messages", json=body)).json()
    assert answer == {"text": "好的，我们重新开始。（前面的 4 句仍在记录里）", "note": True}
    assert await texts(http, session) == []
    async with http.stream("POST", f"{API}/{session}/messages", json={**body, "stream": True}) as events:
        lines = [line async for line in events.aiter_lines()]
    assert json.loads(lines[0].removeprefix("data: ")) == {"text": "好的，我们开始吧。", "note": True}


async def test_a_long_list_is_read_page_by_page(http: httpx.AsyncClient) -> None:
    known = [await made(http) for _ in range(5)]
    seen: list[str] = []
    while True:
        after = {"before": seen[-1]} if seen else {}
        page = (await http.get(API, params={"limit": 2, **after})).json()
        if not page:
            break
        seen += [each["id"] for each in page]
    assert seen == known[::-1]
    nowhere = await http.get(API, params={"before": "0" * 32})
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "session_not_found")
