from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from adapter_rig import Memory, Notebook, say, services
from fakes.ilink import BOT, OWNER, FakeIlink
from fakes.loopback import serving

from chatgpt2.adapter import AdapterError, RetryLater, WindowClosed
from chatgpt2.bots.wechat_personal import WeChatPersonal, adapter, build, login
from chatgpt2.bots.wechat_personal.ilink import client_version, wechat_uin


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_BETWEEN", 0.0)
    monkeypatch.setattr(adapter, "_LOOK", 0.01)


class Person:
    """At the terminal, with a phone."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.said: list[str] = []
        self.codes: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def show_qr(self, content: str) -> None:
        self.codes.append(content)

    async def ask(self, question: str, *, secret: bool = False) -> str:
        self.said.append(question)
        return self.answers.pop(0)


@asynccontextmanager
async def built(ilink: FakeIlink, state: Memory) -> AsyncIterator[WeChatPersonal]:
    async with serving(ilink.app) as ilink.url, httpx.AsyncClient() as http:
        yield build({"base-url": ilink.url}, services(http, state))


@asynccontextmanager
async def running(
    ilink: FakeIlink, inbox: Notebook, state: Memory | None = None
) -> AsyncIterator[tuple[WeChatPersonal, asyncio.Task[None]]]:
    """Logged in and polling."""
    state = Memory() if state is None else state
    async with built(ilink, state) as bot:
        known = {"token": ilink.token, "bot": BOT, "base_url": ilink.url}
        await state.set("login", known)
        await bot.start(inbox)
        task = asyncio.create_task(bot.run())
        try:
            yield bot, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not what():
            await asyncio.sleep(0.01)


def test_versions_and_uins_are_written_as_tencent_does() -> None:
    assert (client_version("2.4.9"), client_version("1.0.11")) == (132105, 65547)
    assert wechat_uin(305419896) == "MzA1NDE5ODk2"


async def test_a_message_is_answered() -> None:
    ilink, inbox = FakeIlink(), Notebook()
    async with running(ilink, inbox) as (bot, _):
        ilink.say("你好", 18446744073709551615)
        (inbound,) = await inbox.count(1)
        assert (inbound.account, inbound.chat_id, inbound.text) == (BOT, OWNER, "你好")
        assert inbound.message_id == "18446744073709551615" and inbound.sent_at is not None
        reply = bot.open_reply(inbound)
        await reply.typing(True)
        await reply.typing(False)
        assert ilink.typing == [1, 2] and ilink.calls["getconfig"] == 1
        sent = await say(bot, inbound, "你好呀", "再见")
        assert ilink.seen[OWNER] == ["你好呀", "再见"] and sent[0].isdecimal()
        assert await say(bot, inbound, "你好呀") == sent[:1]  # sent again, it is the same message
        assert len(ilink.seen[OWNER]) == 2
        assert bot.health().last_contact is not None
    assert ilink.calls["msg/notifystart"] == ilink.calls["msg/notifystop"] == 1


async def test_a_poll_lasts_as_long_as_ilink_says() -> None:
    class Slow(FakeIlink):
        named: object = 60_000

        async def _updates(self, body: dict[str, Any]) -> dict[str, Any]:
            return {**await super()._updates(body), "longpolling_timeout_ms": self.named}

    ilink, inbox = Slow(), Notebook()
    async with running(ilink, inbox) as (bot, _):
        assert bot.health().silence == 105
        for number, (named, silence) in enumerate(((60_000, 180), (None, 180), (86_400_000, 900), (-1, 900))):
            ilink.named = named
            ilink.say("你好", number + 1)
            await inbox.count(number + 1)
            await until(lambda expected=silence: bot.health().silence == expected)


async def test_the_cursor_moves_only_when_the_messages_are_stored() -> None:
    ilink, inbox, state = FakeIlink(), Notebook(), Memory()
    inbox.failing = RuntimeError("the database is gone")
    async with running(ilink, inbox, state) as (_, task):
        ilink.say("你好", 1)
        with pytest.raises(RuntimeError, match="database"):
            await asyncio.wait_for(task, 30)
    assert await state.get(f"{BOT}:cursor") in (None, "0")
    inbox.failing = None
    async with running(ilink, inbox, state):
        await inbox.count(1)
        await until(lambda: "1" in ilink.cursors)
    before = len(ilink.cursors)
    async with running(ilink, inbox, state):
        await until(lambda: len(ilink.cursors) > before)
        assert ilink.cursors[before] == "1" and len(inbox.got) == 1


async def test_what_is_delivered_again_what_the_bot_said_and_groups_are_passed_over() -> None:
    ilink, inbox = FakeIlink(), Notebook()
    async with running(ilink, inbox):
        ilink.say("你好", 1)
        ilink.say("你好", 1)
        ilink.say("我自己", 2, message_type=2)
        ilink.say("群里", 3, group_id="group")
        ilink.say("没有编号", 4, numbered=False)
        assert [each.message_id for each in await inbox.count(2)] == ["1", "phone-4"]


async def test_kinds_of_messages() -> None:
    ilink, inbox = FakeIlink(), Notebook()
    async with running(ilink, inbox):
        ilink.say("", 1, item_list=[{"type": 2, "image_item": {}}])
        ilink.say("", 2, item_list=[{"type": 3, "voice_item": {"text": "说的话"}}])
        ilink.say("", 3, item_list=[{"type": 3, "voice_item": {}}])
        got = await inbox.count(3)
        assert [(each.kind, each.text) for each in got] == [
            ("unsupported", ""),
            ("text", "说的话"),
            ("unsupported", ""),
        ]


async def test_answers_go_with_the_newest_context_also_after_a_restart() -> None:
    ilink, inbox, state = FakeIlink(), Notebook(), Memory()
    async with running(ilink, inbox, state):
        ilink.say("在吗", 1)
        ilink.say("你好", 2)
        await inbox.count(2)
    async with running(ilink, inbox, state) as (bot, _):
        await say(bot, inbox.got[0], "在")
        assert ilink.seen[OWNER] == ["在"] and ilink.contexts == [f"context-{OWNER}-2"]


async def test_without_a_context_nothing_is_sent() -> None:
    ilink, inbox = FakeIlink(), Notebook()
    async with running(ilink, inbox) as (bot, _):
        ilink.say("你好", 1, context_token="")
        with pytest.raises(WindowClosed, match="no context token"):
            await say(bot, (await inbox.count(1))[0], "你好呀")
        assert ilink.calls["sendmessage"] == 0


async def test_ten_sends_and_a_day_are_the_budget() -> None:
    ilink, inbox = FakeIlink(), Notebook()
    async with running(ilink, inbox) as (bot, _):
        assert bot.limits.sends_per_inbound == 10
        ilink.say("你好", 1)
        (inbound,) = await inbox.count(1)
        with pytest.raises(WindowClosed, match="-2"):
            await say(bot, inbound, *(str(number) for number in range(11)))
        assert len(ilink.seen[OWNER]) == 10
        ilink.say("再来", 2)
        await inbox.count(2)
        ilink.ahead = 25 * 3600
        with pytest.raises(WindowClosed, match="-2"):
            await say(bot, inbox.got[1], "晚了")


async def test_other_refusals_wait() -> None:
    ilink, inbox = FakeIlink(), Notebook()
    async with running(ilink, inbox) as (bot, _):
        ilink.say("你好", 1)
        (inbound,) = await inbox.count(1)
        ilink.faults["sendmessage"].extend((-1, 429))
        for _ in range(2):
            with pytest.raises(RetryLater):
                await say(bot, inbound, "你好呀")
        ilink.faults["sendmessage"].append(502)
        with pytest.raises(AdapterError, match="502"):
            await say(bot, inbound, "你好呀")


async def test_a_login_that_is_over_is_said_and_a_new_one_found(caplog: pytest.LogCaptureFixture) -> None:
    ilink, inbox, state = FakeIlink(), Notebook(), Memory()
    async with running(ilink, inbox, state) as (bot, task):
        await until(lambda: ilink.calls["getupdates"] > 0)
        ilink.token = "bot-token-2"
        await until(lambda: bot.health().last_error)
        asked = ilink.calls["getupdates"]
        assert "the login is over" in caplog.text and "bot-token" not in caplog.text
        await asyncio.sleep(0.1)
        assert ilink.calls["getupdates"] == asked and not task.done()
        await state.set("login", {**await state.get("login"), "token": ilink.token})
        with pytest.raises(RetryLater, match="new login"):
            await asyncio.wait_for(task, 30)
        again = asyncio.create_task(bot.run())
        ilink.say("你好", 1)
        await say(bot, (await inbox.count(1))[0], "你好呀")
        assert ilink.seen[OWNER] == ["你好呀"]
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_failed_polls_are_told_with_growing_pauses() -> None:
    ilink = FakeIlink()
    ilink.faults["getupdates"].extend((-1, -1, -1))
    pauses = []
    async with running(ilink, Notebook()) as (bot, task):
        for _ in range(3):
            with pytest.raises(RetryLater) as told:
                await asyncio.wait_for(task, 30)
            pauses.append(told.value.after)
            task = asyncio.create_task(bot.run())
        await until(lambda: bot.health().last_contact)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert pauses == [2, 2, 30]


async def test_without_a_login_it_says_how_to_make_one() -> None:
    async with built(FakeIlink(), Memory()) as bot:
        with pytest.raises(AdapterError, match="chatgpt2 bot login"):
            await bot.start(Notebook())


async def test_a_scanned_code_is_a_login() -> None:
    ilink, state, person = FakeIlink(), Memory(), Person("111", "222")
    async with built(ilink, state) as bot:
        ask = {"status": "need_verifycode"}
        ilink.statuses.extend(
            [{"status": "wait"}, {"status": "timeout"}, {"status": "expired"}, ask, ask, {"status": "scaned"}]
        )
        host = ilink.url.removeprefix("http://")
        ilink.statuses.extend([{"status": "scaned_but_redirect", "redirect_host": host}, ilink.confirmed()])
        await bot.login(person)
        assert ilink.verify_codes == ["111", "222"] and len(person.codes) == 2
        assert await state.get("login") == {
            "token": ilink.token,
            "bot": BOT,
            "base_url": ilink.url,
        }
        await bot.start(Notebook())
        assert bot.account == BOT and ilink.token not in "".join(person.said)
        ilink.statuses.append({"status": "binded_redirect"})
        await bot.login(person)
        assert (await state.get("login"))["token"] == ilink.token and "已经连接过" in person.said[-1]


async def test_codes_that_nobody_scans_come_to_an_end() -> None:
    ilink, state, person = FakeIlink(), Memory(), Person()
    async with built(ilink, state) as bot:
        ilink.statuses.extend(
            [{"status": "expired"}, {"status": "verify_code_blocked"}, {"status": "expired"}]
        )
        with pytest.raises(AdapterError, match="log in again"):
            await bot.login(person)
        assert len(person.codes) == 3 and await state.get("login") is None
