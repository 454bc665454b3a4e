"""`chatgpt2 bot run` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import segno
from click.testing import CliRunner
from fakes.ilink import OWNER, FakeIlink
from fakes.loopback import serving
from fakes.telegram import FakeTelegram
from fakes.tiny import tiny_model
from sqlalchemy import update

from chatgpt2.chat import DECLINED
from chatgpt2.cli.bot import bot
from chatgpt2.errors import ConfigError
from chatgpt2.gateway.rules import NOTICE
from chatgpt2.store import AdapterState, SessionKey, SessionStore
from chatgpt2.store.tables import turns


async def test_a_bot_declines_blocked_words_and_forgets_old_ones(tmp_path: Path) -> None:
    words, database = tmp_path / "words.txt", f"sqlite:///{tmp_path}/chat.db"
    words.write_text("坏话\n", encoding="utf-8")
    key = SessionKey("telegram", chat="old")
    options = ["--grace", "0", "--timeout", "60", "--keep-days", "30", "--blocked-words", str(words)]
    command = [
        "bot",
        "run",
        "telegram",
        "--model",
        str(tiny_model(tmp_path)),
        "--database",
        database,
        *options,
    ]
    async with await SessionStore.open(database) as store, FakeTelegram().running() as fake:
        await store.append(key, "很久以前", "嗯")
        async with store.writing() as db:
            await db.execute(update(turns).values(created=datetime(2020, 1, 1, tzinfo=UTC)))
        fake.person(1)
        fake.say(1, "说句坏 话")
        own = {"CHATGPT2_BOT_TELEGRAM_TOKEN": fake.token, "CHATGPT2_BOT_TELEGRAM_BASE_URL": fake.url}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatgpt2", *command), env={**os.environ, **own}
        )
        try:
            await fake.until(lambda: fake.said(1))
            assert fake.said(1) == [f"{NOTICE}\n{DECLINED}"]
            async with asyncio.timeout(30):
                while await store.record(key):
                    await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_person_logs_a_bot_in_at_the_terminal(tmp_path: Path) -> None:
    ilink, database = FakeIlink(), f"sqlite:///{tmp_path}/chat.db"
    async with serving(ilink.app) as ilink.url:
        ilink.statuses.append(ilink.confirmed())
        command = [
            sys.executable,
            "-m",
            "chatgpt2",
            "bot",
            "login",
            "wechat-personal",
            "--database",
            database,
        ]
        own = {"CHATGPT2_BOT_WECHAT_PERSONAL_BASE_URL": ilink.url, "PYTHONIOENCODING": "utf-8"}
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **own}, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            said = (await process.communicate())[0].decode()
    drawn = StringIO()
    segno.make("https://x/1").terminal(drawn, compact=True)
    assert process.returncode == 0 and drawn.getvalue() in said
    assert said.index("扫描二维码") < said.index("https://x/1") < said.index("已连接微信")
    assert ilink.token not in said
    async with await SessionStore.open(database) as store:
        kept = await AdapterState(store, "wechat-personal").get("login")
    assert kept["token"] == ilink.token and OWNER not in str(kept)


def test_a_list_of_words_that_is_not_there_is_named_before_the_model_is_loaded(tmp_path: Path) -> None:
    given = ["run", "telegram", "--model", str(tmp_path), "--blocked-words", str(tmp_path / "no.txt")]
    result = CliRunner().invoke(bot, given)
    assert isinstance(result.exception, ConfigError) and "no.txt" in str(result.exception)
