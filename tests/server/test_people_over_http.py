"""The people behind a key: whose words are whose, and which key sees what."""

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
from chatgpt2.store import ApiKeys, SessionStore

API = "/api/sessions"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with served(tmp_path, Scripted(), ask_for_keys=True) as url:
        yield url


@pytest.fixture
async def known(tmp_path: Path) -> AsyncIterator[ApiKeys]:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        yield ApiKeys(store)


class Client(httpx.AsyncClient):
    """A program with a key."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(base_url=url, headers={"Authorization": f"Bearer {key}"})

    async def begin(self) -> str:
        return str((await self.post(API, json={})).json()["id"])

    async def say(self, session: str, text: str, user: str | None, **more: Any) -> httpx.Response:
        return await self.post(f"{API}/{session}/messages", json={"text": text, "user": user, **more})


async def db(folder: Path, *command: str) -> str:
    words = ["db", *command, "--database", f"sqlite:///{folder}/talk.db"]
    done = await asyncio.to_thread(CliRunner().invoke, cli, words)
    assert done.exit_code == 0, done.output
    return done.output


async def exported(folder: Path, *who: str) -> list[str]:
    """What people said, as `chatgpt2 db export` writes it."""
    await db(folder, "export", str(folder / "all.jsonl"), "--force", *who)
    lines = (folder / "all.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted(each["content"] for line in lines for each in json.loads(line)["messages"][::2])


async def test_each_of_a_keys_people_is_reached_alone(url: str, known: ApiKeys, tmp_path: Path) -> None:
    async with Client(url, await known.create("shop")) as shop:
        one, other, own = [await shop.begin() for _ in range(3)]
        await shop.say(one, "我是小红", "hong")
        await shop.say(other, "我是小明", "ming")
        await shop.say(own, "我是店主", None)
        assert "/加入训练" in (await shop.say(one, "/退出训练", "hong", commands=True)).text
        assert await exported(tmp_path) == ["我是小明", "我是店主"]
        assert await exported(tmp_path, "--platform", "web", "--user", "ming") == ["我是小明"]
        await shop.say(one, "/加入训练", "hong", commands=True)
        assert await exported(tmp_path, "--platform", "web", "--user", "hong") == ["我是小红"]
        await db(tmp_path, "erase", "--platform", "web", "--account", "shop", "--user", "hong", "--yes")
        assert await exported(tmp_path) == ["我是小明", "我是店主"]
        assert (await shop.get(f"{API}/{one}")).status_code == 404


async def test_each_of_them_has_an_opinion_of_their_own(url: str, known: ApiKeys) -> None:
    async with Client(url, await known.create("shop")) as shop:
        session = await shop.begin()
        await shop.say(session, "大家好", "hong")
        for verdict, who in (("up", {"user": "hong"}), ("down", {"user": "ming"}), ("up", {})):
            opinion = {"turn": 1, "verdict": verdict, **who}
            assert (await shop.post(f"{API}/{session}/feedback", json=opinion)).status_code == 204
        await shop.post(f"{API}/{session}/feedback", json={"turn": 1})

        async def verdict(**who: str) -> str | None:
            said = (await shop.get(f"{API}/{session}", params=who)).json()["said"]
            return str(said[1]["verdict"]) if said[1]["verdict"] else None

        assert [await verdict(user="hong"), await verdict(user="ming"), await verdict()] == [
            "up",
            "down",
            None,
        ]


async def test_no_key_reaches_what_is_anothers(url: str, known: ApiKeys, tmp_path: Path) -> None:
    async with (
        Client(url, await known.create("shop")) as shop,
        Client(url, await known.create("school")) as school,
    ):
        session = await shop.begin()
        await shop.say(session, "我在商店", "hong")
        assert (await school.get(API)).json() == []
        body = {"text": "让我看看", "user": "hong"}
        for method, path, sent in (
            *(("GET", "", None), ("DELETE", "", None), ("PATCH", "", {"title": "我的"})),
            *(
                ("POST", "/messages", body),
                ("POST", "/messages", {**body, "text": "/历史", "commands": True}),
            ),
            *(("POST", "/retry", None), ("POST", "/undo", None), ("POST", "/clear", None)),
            ("POST", "/feedback", {"turn": 1, "verdict": "down"}),
        ):
            refused = await school.request(method, f"{API}/{session}{path}", json=sent)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "session_not_found")
        assert (await school.get(API, params={"before": session})).status_code == 404
        lesson = await school.begin()
        await school.say(lesson, "我在学校", "hong")
        await school.say(lesson, "/退出训练", "hong", commands=True)
        assert await exported(tmp_path) == ["我在商店"]
        await db(tmp_path, "erase", "--platform", "web", "--account", "school", "--user", "hong", "--yes")
        assert [each["turns"] for each in (await shop.get(API)).json()] == [2]


async def test_a_renewed_key_keeps_its_sessions(url: str, known: ApiKeys, tmp_path: Path) -> None:
    old = await known.create("shop", days=1, per_minute=100)
    async with Client(url, old) as shop:
        session = await shop.begin()
    command = ["keys", "renew", "shop", "--database", f"sqlite:///{tmp_path}/talk.db"]
    done = await asyncio.to_thread(CliRunner().invoke, cli, command)
    async with Client(url, old) as shop:
        assert (await shop.get(API)).status_code == 401
    async with Client(url, done.stdout.strip()) as shop:
        assert [each["id"] for each in (await shop.get(API)).json()] == [session]
    assert [(key.label, key.per_minute, key.expires) for key in await known.all()] == [("shop", 100, None)]
    done = await asyncio.to_thread(CliRunner().invoke, cli, [*command[:2], "shpo", *command[3:]])
    assert done.exit_code == 1 and "there is no key 'shpo'" in str(done.exception)


@pytest.mark.parametrize("user", ["", "小" * 256, "a\x00b", "a\n", 5])
async def test_what_is_no_users_id_is_refused(url: str, known: ApiKeys, user: Any) -> None:
    async with Client(url, await known.create("shop")) as shop:
        session = await shop.begin()
        said = await shop.say(session, "你好", user)
        judged = await shop.post(f"{API}/{session}/feedback", json={"turn": 1, "user": user})
    for refused in (said, judged):
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "user")
