"""Blocked words, time, stopping, personas, opinions: what surrounds a reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.talking import Letters, Scripted

from chatgpt2.chat import DECLINED, BlockedWords, ChatService
from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.errors import ConfigError, ReplyStopped, ReplyTimeout
from chatgpt2.serving import Serving
from chatgpt2.store import Feedback, SessionKey, SessionStore

KEY = SessionKey("telegram", account="bot", chat="7")
PERSONA = Dialogue.of(["你是谁", "我叫小智"]).turns


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SessionStore]:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as opened:
        yield opened


def words() -> BlockedWords:
    return BlockedWords(["坏话"])


async def test_a_message_with_a_blocked_word_is_declined_once_and_not_in_the_conversation(
    store: SessionStore,
) -> None:
    engine = Scripted("好")
    chat = ChatService(Serving(engine, Letters()), store, blocked=words())
    assert await chat.reply(KEY, "说句坏 话", "m1") == DECLINED
    assert await chat.reply(KEY, "说句坏 话", "m1") == DECLINED
    assert engine.asked == []
    assert await chat.history(KEY) == Dialogue()
    assert [(turn.text, turn.removed_why) for turn in await store.record(KEY)] == [
        ("说句坏 话", "blocked"),
        (DECLINED, "blocked"),
    ]
    assert await chat.reply(KEY, "你好") == "好"


async def test_a_reply_with_a_blocked_word_is_made_again_and_never_shown(store: SessionStore) -> None:
    engine = Scripted("一句坏话吧", "一句好话")
    chat = ChatService(Serving(engine, Letters()), store, blocked=words())
    shown = [text async for text in chat.stream(KEY, "你好")]
    assert shown[-1] == "一句好话"
    assert not any("坏话" in text for text in shown)
    assert len(engine.asked) == 2
    assert engine.running == 0  # the rest of the first was not waited for


async def test_a_reply_that_cannot_do_without_is_replaced(store: SessionStore) -> None:
    chat = ChatService(Serving(Scripted(*["坏话"] * 3), Letters()), store, blocked=words())
    assert await chat.reply(KEY, "你好") == DECLINED
    assert await chat.history(KEY) == Dialogue.of(["你好", DECLINED])


async def test_a_reply_that_takes_too_long_ends_and_is_not_stored(store: SessionStore) -> None:
    engine = Scripted("慢慢说")
    engine.pause = asyncio.Event()
    chat = ChatService(Serving(engine, Letters()), store, timeout=0.05)
    with pytest.raises(ReplyTimeout, match=r"longer than 0\.05 seconds"):
        await chat.reply(KEY, "你好")
    assert engine.running == 0
    assert await store.record(KEY) == []
    engine.pause = None
    assert await chat.reply(KEY, "你好") == "答2"


async def test_a_reply_is_stopped_at_once_even_while_the_engine_is_silent(store: SessionStore) -> None:
    engine = Scripted("说不完")
    engine.pause = asyncio.Event()
    chat = ChatService(Serving(engine, Letters()), store)
    assert not await chat.stop(KEY)
    running = asyncio.create_task(chat.reply(KEY, "你好"))
    while not engine.running:
        await asyncio.sleep(0)
    assert await chat.stop(KEY)
    with pytest.raises(ReplyStopped):
        await running
    assert engine.running == 0
    assert await store.record(KEY) == []
    assert not await chat.stop(KEY)


async def test_a_session_has_a_persona_of_its_own(store: SessionStore) -> None:
    engine = Scripted()
    chat = ChatService(Serving(engine, Letters(), opening=(Turn("user", "早"), Turn("bot", "早呀"))), store)
    await chat.reply(KEY, "一")
    await chat.set_persona(KEY, PERSONA)
    assert await chat.persona(KEY) == PERSONA
    await chat.retry(KEY).__anext__()
    await chat.set_persona(KEY, ())
    await chat.reply(KEY, "二")
    await chat.set_persona(KEY, None)
    await chat.reply(KEY, "三")
    assert [prompt.split("|")[0] for prompt, _ in engine.asked] == ["早", "你是谁", "一", "早"]


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["一"], "the bot's last"),
        (["一", " "], "empty"),
        (["一", "坏话"], "blocked word"),
        (["一", "长" * 600], "500 tokens at most"),
    ],
)
async def test_personas_that_cannot_work(store: SessionStore, texts: list[str], problem: str) -> None:
    chat = ChatService(Serving(Scripted(), Letters()), store, blocked=words())
    with pytest.raises(ConfigError, match=problem):
        await chat.set_persona(KEY, Dialogue.of(texts).turns)
    assert await chat.persona(KEY) == ()


async def test_settings_are_replaced_as_a_whole_or_not_at_all(store: SessionStore) -> None:
    chat = ChatService(Serving(Scripted(), Letters()), store)
    await chat.replace_settings(KEY, {"top_k": 5, "temperature": 1})
    with pytest.raises(ConfigError, match="temperature is 99"):
        await chat.replace_settings(KEY, {"temperature": 99})
    assert (await store.own(KEY))[0] == {"top_k": 5, "temperature": 1.0}
    await chat.replace_settings(KEY, {})
    assert (await store.own(KEY))[0] == {}


async def test_opinions_and_opting_out_belong_to_a_user(store: SessionStore) -> None:
    chat = ChatService(Serving(Scripted(), Letters()), store)
    await chat.reply(KEY, "你好", "m1", "u1")
    assert await chat.feedback(KEY, "down", "太短\x00", user="u1", message_id="m1") == 1
    assert await chat.verdicts(KEY, "u1") == {1: "down"}
    assert await chat.verdicts(KEY, "u2") == {}
    assert (await Feedback(store).recent(1))[0].text == "太短"
    await chat.opt_out(KEY, "u1")
    assert (await chat.opted_out(KEY, "u1"), await chat.opted_out(KEY, "u2")) == (True, False)
    await chat.opt_out(KEY, "u1", out=False)
    assert not await chat.opted_out(KEY, "u1")
