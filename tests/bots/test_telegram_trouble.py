from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from telegram_rig import rigged

from chatgpt2.adapter import RetryLater, find
from chatgpt2.bots.telegram import Settings, build
from chatgpt2.errors import AdapterError, ConfigError

XIAOMING = 7


def test_it_is_installed_as_a_bot() -> None:
    assert find("telegram").build is build


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"token": "AAsecretAA"}, "token must look like 123456:ABC-def"),
        ({"token": "1:AA/../secretAA"}, "token must look like 123456:ABC-def"),
        ({"token": "1:secret", "base-url": "api.telegram.org"}, "base_url must begin with https://"),
        ({"token": "1:secret", "webhook-url": "http://a.example"}, "webhook_url must begin with https://"),
    ],
)
def test_a_setting_that_cannot_be_is_told_without_the_token(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        build(settings, None)  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(Settings("1:secret"))


async def test_a_wrong_token_is_told_in_a_sentence_without_it() -> None:
    async with rigged() as rig:
        wrong = "4242:AAnotherTokenAnotherTokenAnother"
        with pytest.raises(
            AdapterError, match="does not know this token: take the one that @BotFather"
        ) as raised:
            await rig.started(token=wrong)
        assert wrong not in str(raised.value)


async def test_the_second_of_two_programs_with_one_token_makes_the_first_say_so() -> None:
    async with rigged() as rig:
        bot = await rig.started()
        running = asyncio.create_task(bot.run())
        await rig.fake.until(lambda: any(method == "getUpdates" for method, _ in rig.fake.calls))
        async with rig.polling():
            with pytest.raises(AdapterError, match="Another program receives this bot's messages"):
                await running
        assert "Another program" in str(bot.health().last_error)


async def test_a_webhook_that_something_else_sets_is_told() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        bot = await rig.started()
        running = asyncio.create_task(bot.run())
        await rig.fake.until(lambda: any(method == "getUpdates" for method, _ in rig.fake.calls))
        rig.fake.webhook = {"url": "https://other.example"}
        rig.fake.say(XIAOMING, "你好")
        with pytest.raises(AdapterError, match="a webhook that something else has set"):
            await running


async def test_without_a_network_it_says_so_and_goes_on_later() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        bot = await rig.started()
        port = int(rig.fake.url.rpartition(":")[2])
        await rig.server.aclose()
        with pytest.raises(AdapterError, match=r"cannot be reached .*check the network"):
            await bot.run()
        assert "cannot be reached" in str(bot.health().last_error)
        async with rig.fake.running(port):
            running = asyncio.create_task(bot.run())
            rig.fake.say(XIAOMING, "你好")
            assert (await rig.box.first(1))[0].text == "你好"
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert bot.health().last_error is None


@asynccontextmanager
async def proxy(heard: list[bytes], answer: bytes) -> AsyncIterator[str]:
    """A proxy that notes what it is asked, and answers this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("server", "first_line"),
    [
        ("https://api.example", b"CONNECT api.example:443 HTTP/1.1"),  # no token for the proxy to read
        (
            "http://api.example",
            b"POST http://api.example/bot4242:AAFakeFakeFakeFakeFakeFakeFakeFake0/getMe HTTP/1.1",
        ),
    ],
)
async def test_the_proxy_of_the_services_is_the_way_out(server: str, first_line: bytes) -> None:
    heard: list[bytes] = []
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    async with rigged() as rig, proxy(heard, refusal) as url, httpx.AsyncClient(proxy=url) as rig.client:
        with pytest.raises(AdapterError) as raised:
            await rig.started(**{"base-url": server})
    assert "403" in str(raised.value)
    assert heard[0].splitlines()[0] == first_line


async def test_a_pause_that_telegram_asks_the_poller_for_is_kept() -> None:
    async with rigged() as rig:
        rig.fake.faults["getUpdates"].append(11)
        with pytest.raises(RetryLater) as later:
            await (await rig.started()).run()
        assert later.value.after == 11


async def test_what_is_no_bot_api_server_is_told() -> None:
    async with rigged() as rig:
        rig.fake.faults["getMe"].append("not json")
        with pytest.raises(AdapterError, match="something else than a Bot API server answered: 200 OK"):
            await rig.started()
        rig.fake.faults["getMe"].append("502")
        with pytest.raises(AdapterError, match=r"server answered: 502 Bad Gateway\): check"):
            await rig.started()


async def test_a_server_of_ones_own_may_have_a_path() -> None:
    async with rigged() as rig:
        with pytest.raises(AdapterError, match="does not know this token"):  # its 404 says no more
            await rig.started(**{"base-url": f"{rig.fake.url}/behind/nginx/"})
        assert (await rig.started(**{"base-url": f"{rig.fake.url}/"})).account == "4242"


async def test_the_token_is_in_no_log_whatever_happens(caplog: pytest.LogCaptureFixture) -> None:
    for logger in (None, "httpx"):  # which a bot of another test may have hushed
        caplog.set_level(logging.DEBUG, logger)
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        _, _, reply = await rig.heard(XIAOMING, "你好")
        rig.fake.faults["sendMessage"].extend(["502", "hang up", "not json", 3])
        for _ in range(4):
            with pytest.raises(Exception) as raised:
                await reply.send("好", index=0, final=True, feedback_id=None)
            caplog.records.append(logging.makeLogRecord({"msg": repr(raised.value)}))
        await reply.send("好", index=0, final=True, feedback_id=None)
        rig.fake.token = "4242:AAnotherTokenAnotherTokenAnother"
        with pytest.raises(AdapterError):
            await rig.started(token="4242:AAFakeFakeFakeFakeFakeFakeFakeFake0")
    text = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "/botTOKEN/sendMessage" in text
    assert "AAFake" not in text


async def test_a_telegram_bot_that_speaks_and_does_not_hear_is_silent() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        bot, _, reply = await rig.heard(XIAOMING, "你好")
        heard = bot.health().last_contact
        rig.now += 1000
        await reply.send("好", index=0, final=True, feedback_id=None)
        assert bot.health().last_contact == heard is not None
        async with rig.polling() as again:
            rig.fake.say(XIAOMING, "在吗")
            await rig.box.one()
            assert again.health().last_contact == rig.now
