from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from chatgpt2.dialogue import Dialogue
from chatgpt2.store import Exchange, SessionKey, SessionStore

KEY = SessionKey("terminal", chat="default")


@pytest.fixture
async def store(url: str) -> AsyncIterator[SessionStore]:
    async with await SessionStore.open(url) as opened:
        yield opened


async def test_a_new_session_is_an_empty_dialogue(store: SessionStore) -> None:
    assert await store.load(KEY) == Dialogue()
    assert await store.record(KEY) == []
    assert (await store.own(KEY))[0] == {}
    assert await store.sessions() == []


async def test_exchanges_come_back_in_order(store: SessionStore) -> None:
    assert await store.append(KEY, "你好", "你好呀") == "你好呀"
    await store.append(KEY, "在吗", "在的 😀")
    assert await store.load(KEY) == Dialogue.of(["你好", "你好呀", "在吗", "在的 😀"])


async def test_everything_known_about_a_turn_is_stored(store: SessionStore) -> None:
    before = datetime.now(UTC)
    await store.append(
        KEY, "你好", "你好呀", message_id="m1", user_id="u1", model="abc", tokens=3, latency=0.25
    )
    user, bot = await store.record(KEY)
    assert (user.position, user.role, user.text, user.user_id, user.message_id) == (
        0,
        "user",
        "你好",
        "u1",
        "m1",
    )
    assert (user.model, user.tokens, user.latency) == (None, None, None)
    assert (bot.position, bot.role, bot.text, bot.message_id) == (1, "bot", "你好呀", "m1")
    assert (bot.model, bot.tokens, bot.latency) == ("abc", 3, 0.25)
    assert bot.created.utcoffset() == timedelta(0)
    assert before <= bot.created <= datetime.now(UTC)


async def test_sessions_are_apart(store: SessionStore) -> None:
    topic = SessionKey("telegram", "bot", "chat", "topic")
    await store.append(KEY, "甲", "乙")
    await store.append(topic, "丙", "丁")
    await store.append(SessionKey("telegram", "bot", "chat"), "戊", "己")
    assert await store.load(topic) == Dialogue.of(["丙", "丁"])
    assert str(topic) == "telegram:bot:chat:topic"


async def test_clear_leaves_the_record(store: SessionStore) -> None:
    await store.append(KEY, "你好", "你好呀")
    assert await store.clear(KEY) == 2
    assert await store.clear(KEY) == 0
    await store.append(KEY, "再来", "好")
    assert await store.load(KEY) == Dialogue.of(["再来", "好"])
    record = await store.record(KEY)
    assert [turn.text for turn in record] == ["你好", "你好呀", "再来", "好"]
    assert [turn.position for turn in record] == [0, 1, 2, 3]
    assert [turn.removed_why for turn in record] == ["reset", "reset", None, None]
    assert record[0].removed is not None and record[0].removed.tzinfo is not None


async def test_undo_takes_exchanges_back_one_by_one(store: SessionStore) -> None:
    await store.append(KEY, "一", "壹", message_id="m1")
    await store.append(KEY, "二", "贰")
    assert await store.undo(KEY) == Exchange("二", "贰")
    assert await store.load(KEY) == Dialogue.of(["一", "壹"])
    assert await store.undo(KEY) == Exchange("一", "壹", "m1")
    assert await store.undo(KEY) is None
    assert await store.undo(SessionKey("terminal", chat="nobody")) is None
    assert [turn.removed_why for turn in await store.record(KEY)] == ["undo"] * 4


async def test_a_replaced_reply_stays_on_record(store: SessionStore) -> None:
    await store.append(KEY, "一", "壹", message_id="m1")
    await store.replace_reply(KEY, "壱", tokens=1)
    await store.replace_reply(KEY, "弌", tokens=2)
    assert await store.load(KEY) == Dialogue.of(["一", "弌"])
    record = await store.record(KEY)
    assert [(turn.text, turn.removed_why) for turn in record] == [
        ("一", None),
        ("壹", "retry"),
        ("壱", "retry"),
        ("弌", None),
    ]
    assert await store.find_reply(KEY, "m1") == "弌"
    assert await store.undo(KEY) == Exchange("一", "弌", "m1")


async def test_nothing_to_replace(store: SessionStore) -> None:
    await store.replace_reply(KEY, "壱")
    assert await store.load(KEY) == Dialogue()


async def test_a_message_is_stored_once(store: SessionStore) -> None:
    assert await store.append(KEY, "一", "壹", message_id="m1") == "壹"
    assert await store.append(KEY, "一", "另一个", message_id="m1") == "壹"
    other = SessionKey("terminal", chat="other")
    assert await store.append(other, "一", "弌", message_id="m1") == "弌"
    assert await store.load(KEY) == Dialogue.of(["一", "壹"])
    assert await store.find_reply(KEY, "m1") == "壹"
    assert await store.find_reply(KEY, "m2") is None


async def test_a_message_is_remembered_after_a_reset(store: SessionStore) -> None:
    await store.append(KEY, "一", "壹", message_id="m1")
    await store.clear(KEY)
    assert await store.find_reply(KEY, "m1") == "壹"


async def test_the_list_has_counts_and_the_latest_first(store: SessionStore) -> None:
    work = SessionKey("terminal", chat="work")
    await store.append(KEY, "一", "壹")
    await store.append(KEY, "二", "贰")
    await store.append(work, "三", "叁")
    await store.undo(KEY)
    await store.set_settings(SessionKey("terminal", chat="silent"), {"top_k": 1})
    listed = {info.key: info for info in await store.sessions()}
    assert [info.key.chat for info in await store.sessions()] == ["silent", "work", "default"]
    assert (listed[KEY].turns, listed[KEY].removed) == (2, 2)
    assert (listed[work].turns, listed[work].removed) == (2, 0)
    assert listed[work].created <= listed[work].last_active


async def test_settings_are_replaced_whole(store: SessionStore) -> None:
    await store.set_settings(KEY, {"temperature": 0.5, "top_k": 3})
    await store.set_settings(KEY, {"temperature": 0.7})
    assert (await store.own(KEY))[0] == {"temperature": 0.7}
    await store.clear(KEY)
    assert (await store.own(KEY))[0] == {"temperature": 0.7}


async def test_delete_removes_the_record_too(store: SessionStore) -> None:
    await store.append(KEY, "一", "壹")
    assert await store.delete(KEY)
    assert not await store.delete(KEY)
    assert await store.record(KEY) == []
    assert await store.sessions() == []


async def test_many_writers_at_once_keep_exchanges_whole(store: SessionStore) -> None:
    async def speak(number: int) -> None:
        await store.append(KEY, f"问{number}", f"答{number}")

    await asyncio.gather(*(speak(number) for number in range(40)))
    texts = [turn.text for turn in (await store.load(KEY)).turns]
    assert sorted(texts[::2]) == sorted(f"问{number}" for number in range(40))
    assert [text.replace("问", "答") for text in texts[::2]] == texts[1::2]


async def test_two_stores_on_one_database_write_in_turn(store: SessionStore, url: str) -> None:
    async with await SessionStore.open(url) as second:
        await asyncio.gather(*(each.append(KEY, "问", "答") for each in [store, second] * 15))
    assert [turn.position for turn in await store.record(KEY)] == list(range(60))


async def test_a_cancelled_writer_leaves_a_whole_exchange_or_none(store: SessionStore) -> None:
    await store.append(KEY, "一", "壹")
    for pause in range(12):
        task = asyncio.create_task(store.append(KEY, "问", "答"))
        for _ in range(pause * 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.append(KEY, "二", "贰")
    texts = [turn.text for turn in (await store.load(KEY)).turns]
    assert texts == ["一", "壹", *["问", "答"] * (len(texts) // 2 - 2), "二", "贰"]
