"""The bots on the operations page, and logging one in there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Page, Server, browser_needed
from fakes.ilink import BOT, FakeIlink
from fakes.loopback import serving
from fakes.talking import Scripted
from serving import served

from chatgpt2.adapter import Adapter, AdapterError, Console, Health, Inbox, Limits, Services
from chatgpt2.bots.wechat_personal import build
from chatgpt2.gateway import Bot, Rules
from chatgpt2.store import AdapterState, Audit, SessionStore


class Pigeon(Adapter):
    """A bot that has to be logged in by a person who knows a word."""

    name, account, limits = "pigeon", "loft", Limits(100)

    def __init__(self) -> None:
        self.word = ""

    async def start(self, inbox: Inbox) -> None:
        if self.word != "咕咕":
            raise AdapterError("the pigeon is not logged in")

    def health(self) -> Health:
        return Health(time.time() - 5)

    async def login(self, console: Console) -> None:
        console.say("请扫描：")
        console.show_qr("https://pigeon.example/loft")
        self.word = await console.ask("暗号是什么？")
        if self.word != "咕咕":
            raise AdapterError("这个暗号不对")
        console.say("登录好了。")


class Crow(Adapter):
    """A bot that needs nobody."""

    name, account, limits = "crow", "tree", Limits(100)


def birds(store: SessionStore) -> Sequence[Bot]:
    return [Bot("pigeon", Pigeon(), Rules()), Bot("mine", Crow(), Rules())]


async def until(what: Callable[[], Any]) -> Any:
    async with asyncio.timeout(30):
        while not (found := await what()):
            await asyncio.sleep(0.02)
    return found


async def test_an_operator_sees_how_the_bots_are(tmp_path: Path) -> None:
    async with (
        served(tmp_path, Scripted(), bots=birds) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):

        async def failed() -> Any:
            told = (await http.get("/api/admin")).json()["bots"]
            return told if told["bots"][0]["stage"] == "failed" else None

        told = await until(failed)
    pigeon, crow = told["bots"]
    assert (pigeon["name"], pigeon["platform"], pigeon["healthy"], pigeon["logs_in"]) == (
        *("pigeon", "pigeon", False, True),
    )
    assert pigeon["last_error"] == "AdapterError: the pigeon is not logged in"
    assert 4 < pigeon["silent_for"] < 60
    assert (crow["name"], crow["platform"], crow["logs_in"], crow["silent_for"]) == (
        *("mine", "crow", False, None),
    )
    assert (told["letters"]["received"], told["conversations"]) == (0, 0)


async def test_personal_wechat_is_logged_in_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatgpt2.bots.wechat_personal.login._BETWEEN", 0.01)
    ilink = FakeIlink()
    async with serving(ilink.app) as ilink.url, httpx.AsyncClient() as outside:

        def wechat(store: SessionStore) -> Sequence[Bot]:
            log = logging.getLogger("chatgpt2.bots.wechat")
            services = Services(outside, AdapterState(store, "wechat"), time.time, log)
            return [Bot("wechat", build({"base-url": ilink.url}, services), Rules())]

        path = "/api/admin/bots/wechat/login"
        async with (
            served(tmp_path, Scripted(), bots=wechat) as url,
            httpx.AsyncClient(base_url=url) as http,
        ):
            assert (await http.get(path)).status_code == 404
            begun = (await http.post(path)).json()
            assert begun["running"]
            assert (await http.post(f"{path}/answer", json={"text": "12"})).status_code == 409

            async def state(name: str) -> Any:
                return (await http.get(path)).json()[name]

            rows = await until(lambda: state("qr"))
            assert set("".join(rows)) == {"0", "1"} and len(rows) == len(rows[0])
            assert await state("link") == "https://x/1"
            ilink.statuses.extend([{"status": "scaned"}, {"status": "need_verifycode"}])
            assert "数字" in await until(lambda: state("question"))
            ilink.statuses.append(ilink.confirmed())
            assert (await http.post(f"{path}/answer", json={"text": "12"})).status_code == 200

            async def done() -> bool:
                return not await state("running")

            await until(done)
            assert ilink.verify_codes[0] == "12" and await state("error") is None
            assert (await state("said"))[-1].startswith("已连接微信")

            async def polling() -> bool:  # at once, not when the pause after the failure is over
                told = (await http.get("/api/admin")).json()["bots"]["bots"][0]
                return bool(told["stage"] == "polling")

            await until(polling)
    async with await SessionStore.open(f"sqlite:///{tmp_path}/talk.db") as store:
        assert (await AdapterState(store, "wechat").get("login"))["bot"] == BOT
        assert [deed.action for deed in await Audit(store).recent(5)] == ["bot.login"]


async def test_who_may_log_a_bot_in(tmp_path: Path) -> None:
    async with (
        served(tmp_path, Scripted(), bots=birds, proxies=["127.0.0.1"]) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        far = {"X-Forwarded-For": "203.0.113.9"}
        assert (await http.post("/api/admin/bots/pigeon/login", headers=far)).status_code == 403
        assert (await http.post("/api/admin/bots/mine/login")).status_code == 404
        assert (await http.post("/api/admin/bots/owl/login")).status_code == 404
        assert (await http.post("/api/admin/bots/pigeon/login")).status_code == 200  # and left open
    async with (
        served(tmp_path, Scripted(), bots=birds, ask_for_keys=True) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        assert (await http.post("/api/admin/bots/pigeon/login")).status_code == 401


@browser_needed
def test_a_bot_is_logged_in_on_the_page(chromium: Any, tmp_path: Path) -> None:
    server = Server(tmp_path, bots=birds)
    try:
        page = Page(chromium, f"{server.url}/admin", wait=False)
        page.wait(lambda: page.texts("#bots tbody td")[:2] == ["pigeon", "出错了，稍后重试"])
        assert "not logged in" in page.element("#bots").text
        assert page.texts("#log-in button") == ["登录 pigeon"]
        page.click("#log-in button")
        page.wait(lambda: page.element("#login svg.qr").get_attribute("aria-label") == "要扫描的二维码")
        page.element("#login-answer").send_keys("喳喳\n")
        page.wait(lambda: "这个暗号不对" in page.element("#login").text)
        page.click("#log-in button")
        page.wait(lambda: "https://pigeon.example/loft" in page.element("#login").text)
        assert page.serious() == [] and page.fits()
        page.element("#login-answer").send_keys("咕咕\n")
        page.wait(lambda: "登录好了。" in page.element("#login").text)
        page.wait(lambda: "在接收" in page.texts("#bots tbody td"))
        page.click("#language")
        page.wait(lambda: page.texts("#log-in button") == ["Log pigeon in"])
        assert page.complaints() == []
    finally:
        server.close()
