from __future__ import annotations

from collections.abc import Mapping

import pytest
from telegram_rig import Rig, rigged

from chatgpt2.adapter import Request
from chatgpt2.bots.telegram import Telegram
from chatgpt2.errors import StoreError

XIAOMING = 7
URL = "https://bot.example.com/bots/telegram/webhook"


async def reached(rig: Rig, bot: Telegram) -> list[int]:
    """Let the webhook's calls come to the bot's route, as the server does; the statuses it answers."""
    (route,) = bot.routes()
    assert (route.method, route.path) == ("POST", "/webhook")
    statuses: list[int] = []

    async def deliver(url: str, headers: Mapping[str, str], body: bytes) -> int:
        assert url == URL
        try:
            statuses.append((await route.handler(Request({}, headers, body))).status)
        except StoreError:
            statuses.append(503)
        return statuses[-1]

    rig.fake.deliver = deliver
    return statuses


async def test_what_telegram_delivers_is_stored_and_then_acknowledged() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        bot = await rig.started(**{"webhook-url": URL})
        await bot.run()  # tells Telegram where, and has nothing to poll
        assert (rig.fake.webhook["url"], rig.fake.webhook["max_connections"]) == (URL, 1)
        statuses = await reached(rig, bot)
        rig.fake.say(XIAOMING, "你好")
        rig.fake.say(XIAOMING, "在吗")
        rig.fake.react(rig.fake.say(XIAOMING, "嗯"), "", "👍")
        await rig.fake.deliver_all()
        assert [each.text for each in rig.box.got] == ["你好", "在吗", "嗯", "up"]
        assert statuses == [200] * 4
        assert bot.health().last_contact == rig.now and bot.health().silence is None


async def test_what_could_not_be_stored_is_delivered_again() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        bot = await rig.started(**{"webhook-url": URL})
        await bot.run()
        statuses = await reached(rig, bot)
        through = rig.fake.deliver
        assert through is not None

        async def deliver(url: str, headers: Mapping[str, str], body: bytes) -> int:
            rig.box.broken = not statuses
            return await through(url, headers, body)

        rig.fake.deliver = deliver
        rig.fake.say(XIAOMING, "你好")
        await rig.fake.deliver_all()
        assert statuses == [503, 200]
        assert [each.text for each in rig.box.got] == ["你好"]


async def test_two_processes_know_the_same_secret_and_nobody_else_does() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        one, other = [await rig.started(**{"webhook-url": URL}) for _ in range(2)]
        await one.run()
        assert await reached(rig, other) == []
        rig.fake.say(XIAOMING, "你好")
        await rig.fake.deliver_all()
        assert [each.text for each in rig.box.got] == ["你好"]
        assert rig.fake.token not in str(rig.fake.webhook)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 403),
        ({"x-telegram-bot-api-secret-token": "guess"}, b"{}", 403),
        ({"x-telegram-bot-api-secret-token": "猜"}, b"{}", 403),
        ("right", b"x" * (1 << 20) + b"x", 413),
        ("right", b"not json", 400),
        ("right", b"[]", 400),
        ("right", b"{}", 400),
        ("right", b'{"update_id": 1, "message": 3}', 200),
        ("right", b'{"update_id": 2, "something_new": {}}', 200),
    ],
)
async def test_what_is_not_from_telegram_is_refused(
    headers: dict[str, str] | str, body: bytes, status: int
) -> None:
    async with rigged() as rig:
        bot = await rig.started(**{"webhook-url": URL})
        await bot.run()
        if isinstance(headers, str):
            headers = {"x-telegram-bot-api-secret-token": rig.fake.webhook["secret_token"]}
        response = await bot.routes()[0].handler(Request({}, headers, body))
        assert (response.status, rig.box.got) == (status, [])


async def test_polling_again_takes_the_webhook_away_and_loses_nothing() -> None:
    async with rigged() as rig:
        rig.fake.person(XIAOMING)
        await (await rig.started(**{"webhook-url": URL})).run()
        rig.fake.say(XIAOMING, "你好")
        async with rig.polling() as bot:
            assert (await rig.box.first(1))[0].text == "你好"
            assert bot.routes() == ()
        assert not rig.fake.webhook
