"""What `feedback` and `proxy` of a bot's table do to WeCom's smart bots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from adapter_rig import Memory, Notebook, door, say, services
from fakes.loopback import serving, webhooks
from fakes.wecom import AES_KEY, TOKEN, FakeBotPlatform
from fakes.wecom_line import BOT, SECRET, FakeLine

from chatgpt2.adapter import Adapter, AdapterError, ConfigError, RetryLater
from chatgpt2.bots.wecom import build_connected_bot, build_polled_bot
from chatgpt2.gateway import make_bot
from chatgpt2.store import SessionStore


@asynccontextmanager
async def connected(line: FakeLine, inbox: Notebook, **wishes: object) -> AsyncIterator[Adapter]:
    async with httpx.AsyncClient() as http:
        given = replace(services(http, Memory()), **wishes)  # type: ignore[arg-type]
        adapter = build_connected_bot({"bot-id": BOT, "secret": SECRET, "url": line.url}, given)
        await adapter.start(inbox)
        task = asyncio.create_task(adapter.run())
        try:
            yield adapter
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_connected_bot_asks_for_opinions_only_where_they_are_wanted(wanted: bool) -> None:
    inbox, about = Notebook(), "fb-1" if wanted else None
    async with FakeLine().running() as line, connected(line, inbox, feedback=wanted) as adapter:
        for number in (1, 2):
            await line.say("你好", number)
        shown, at_once = await inbox.count(2)
        reply = adapter.open_reply(shown)
        await reply.preview("你")
        await reply.send("你好", index=0, final=True, feedback_id=about)
        await reply.close()
        await say(adapter, at_once, "好", feedback_id=about)
        assert line.seen["ZhangSan"] == ["你好", "好"] and len(line.marks) == (2 if wanted else 0)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_bot_that_is_asked_marks_its_stream_only_where_opinions_are_wanted(wanted: bool) -> None:
    wecom, inbox = FakeBotPlatform(), Notebook()
    async with wecom.running(), httpx.AsyncClient() as http:
        given = replace(services(http, Memory()), feedback=wanted)
        adapter = build_polled_bot({"token": TOKEN, "aes-key": AES_KEY, "bot-id": BOT}, given)
        await adapter.start(inbox)
        async with serving(webhooks(adapter)) as ours:
            body = {"msgid": "1", "aibotid": BOT, "from": {"userid": "u"}, "chattype": "single"}
            said = {"msgtype": "text", "text": {"content": "你好"}}
            answer = await wecom.call(door(http, f"{ours}/callback"), {**body, **said})
    assert answer is not None and ("feedback" in answer["stream"]) is wanted


async def test_the_table_of_a_bot_decides(sqlite: str) -> None:
    table = {"bot-id": BOT, "secret": SECRET, "feedback": False, "proxy": "http://127.0.0.1:9"}
    async with await SessionStore.open(sqlite) as store:
        bot, client = make_bot("wecom-bot", table, store)
        await client.aclose()
    given = bot.adapter.services  # type: ignore[attr-defined]
    assert (given.feedback, given.proxy) == (False, "http://127.0.0.1:9")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """A CONNECT; where to."""
    asked = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return asked.split()[1]


async def _socks5(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """A greeting without a password, and a CONNECT to an IPv4 address (RFC 1928)."""
    await reader.readexactly((await reader.readexactly(2))[1])
    writer.write(b"\x05\x00")
    assert (await reader.readexactly(4))[:2] == b"\x05\x01"
    address, port = await reader.readexactly(4), await reader.readexactly(2)
    writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    return f"{'.'.join(map(str, address))}:{int.from_bytes(port)}"


@pytest.mark.parametrize(("scheme", "greet"), [("http", _http), ("socks5", _socks5)])
async def test_the_long_connection_goes_through_the_proxy(scheme: str, greet: object) -> None:
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await greet(reader, writer))  # type: ignore[operator]
        host, _, port = asked[-1].partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer), return_exceptions=True)

    inbox = Notebook()
    async with FakeLine().running() as line, await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        proxy = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connected(line, inbox, proxy=proxy) as adapter:
            await line.say("你好", 1)
            (inbound,) = await inbox.count(1)
            await say(adapter, inbound, "好")
            assert line.seen["ZhangSan"] == ["好"]
        assert asked == [urlsplit(line.url).netloc]


@pytest.mark.parametrize(
    ("proxy", "kind", "said"),
    [
        ("http://me:hunter2@127.0.0.1:9", RetryLater, "cannot be reached"),
        ("socks5://me:hunter2@127.0.0.1:9", RetryLater, "cannot be reached"),
        ("ftp://me:hunter2@127.0.0.1:9", ConfigError, "proxy cannot be used"),
    ],
)
async def test_a_proxy_that_is_no_way_out_is_told_without_its_password(
    proxy: str, kind: type[Exception], said: str
) -> None:
    async with httpx.AsyncClient() as http:
        given = replace(services(http, Memory()), proxy=proxy)
        adapter = build_connected_bot({"bot-id": BOT, "secret": SECRET, "url": "ws://127.0.0.1:10"}, given)
        await adapter.start(Notebook())
        with pytest.raises(kind, match=said) as told:
            await asyncio.wait_for(adapter.run(), 60)
    assert "hunter2" not in str(told.value)
    if issubclass(kind, AdapterError):
        assert said in str(adapter.health().last_error)
