from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fakes.talking import Letters, Scripted

from chatgpt2.chat import SPEECHLESS, ChatService
from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import SamplingParams, Step
from chatgpt2.errors import ConfigError, EngineError
from chatgpt2.serving import Serving
from chatgpt2.store import Exchange, SessionKey, SessionStore

KEY = SessionKey("terminal", chat="default")
OTHER = SessionKey("terminal", chat="other")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SessionStore]:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as opened:
        yield opened


def service(store: SessionStore, *replies: str, **more: Any) -> tuple[ChatService, Scripted]:
    engine = Scripted(*replies)
    parts = {key: more.pop(key) for key in ("defaults", "opening", "name") if key in more}
    return ChatService(Serving(engine, Letters(), **parts), store, **more), engine


async def test_a_stream_is_the_full_text_so_far_then_final(store: SessionStore) -> None:
    chat, engine = service(store, "你好呀")
    assert [text async for text in chat.stream(KEY, " 你好\n")] == ["你", "你好", "你好呀", "你好呀"]
    assert await chat.history(KEY) == Dialogue.of(["你好", "你好呀"])
    assert engine.asked[0][1].stop_ids == (0,)


async def test_the_final_text_is_given_only_when_stored(store: SessionStore) -> None:
    chat, _ = service(store, "好")
    async with aclosing(chat.stream(KEY, "你好")) as texts:
        assert await anext(texts) == "好"
        assert await store.record(KEY) == []
        assert await anext(texts) == "好"
        assert len(await store.record(KEY)) == 2


async def test_the_prompt_is_the_conversation_after_the_opening(store: SessionStore) -> None:
    chat, engine = service(store, "一", "二", opening=(Turn("user", "你是谁"), Turn("bot", "小智")))
    await chat.reply(KEY, "甲")
    await chat.reply(KEY, "乙")
    assert [prompt for prompt, _ in engine.asked] == ["你是谁|小智|甲", "你是谁|小智|甲|一|乙"]
    assert await chat.history(KEY) == Dialogue.of(["甲", "一", "乙", "二"])


async def test_the_prompt_leaves_room_for_the_reply(store: SessionStore) -> None:
    chat, engine = service(store, defaults=SamplingParams(max_new_tokens=990))
    await chat.reply(KEY, "长" * 2000)
    assert len(engine.asked[0][0]) == 10


async def test_what_is_known_of_a_reply_is_stored(store: SessionStore) -> None:
    chat, _ = service(store, "你好呀", name="abc123")
    await chat.reply(KEY, "你好", message_id="m1", user="u1")
    user, bot = await store.record(KEY)
    assert (user.user_id, user.message_id) == ("u1", "m1")
    assert (bot.model, bot.tokens) == ("abc123", 3)
    assert bot.latency is not None and bot.latency >= 0


async def test_one_message_is_answered_once(store: SessionStore) -> None:
    chat, engine = service(store)
    answers = await asyncio.gather(*(chat.reply(KEY, "你好", message_id="m1") for _ in range(3)))
    assert answers == ["答1"] * 3
    assert len(engine.asked) == 1
    assert await chat.reply(OTHER, "你好", message_id="m1") == "答2"


async def test_turns_of_a_session_are_in_order_and_sessions_side_by_side(store: SessionStore) -> None:
    chat, engine = service(store)
    keys, engine.pause = [KEY, OTHER], asyncio.Event()
    asking = [asyncio.create_task(chat.reply(key, f"问{number}")) for number in range(4) for key in keys]
    while engine.running < 2:
        await asyncio.sleep(0)
    engine.pause.set()
    await asyncio.gather(*asking)
    assert engine.most == 2
    for key in keys:
        questions = [turn.text for turn in (await chat.history(key)).turns if turn.role == "user"]
        assert questions == ["问0", "问1", "问2", "问3"]


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_a_stopped_reply_stores_nothing_and_frees_the_engine(store: SessionStore, how: str) -> None:
    chat, engine = service(store, "说到一半", "好的")
    engine.pause = asyncio.Event()
    if how == "close":
        async with aclosing(chat.stream(KEY, "你好")) as texts:
            assert await anext(texts) == "说"
    else:
        task = asyncio.create_task(chat.reply(KEY, "你好"))
        while not engine.running:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert engine.running == 0
    assert await store.record(KEY) == []
    engine.pause.set()
    assert await chat.reply(KEY, "还在吗") == "好的"


async def test_a_failing_engine_stores_nothing(store: SessionStore) -> None:
    class Failing(Scripted):
        async def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> AsyncGenerator[Step]:
            yield Step([ord("说")])
            raise EngineError("out of memory")

    chat = ChatService(Serving(Failing(), Letters()), store)
    with pytest.raises(EngineError, match="out of memory"):
        await chat.reply(KEY, "你好")
    assert await store.record(KEY) == []


@pytest.mark.parametrize("text", ["", "  \n\t", "　", "\x00"])
async def test_nothing_to_answer(store: SessionStore, text: str) -> None:
    chat, engine = service(store)
    with pytest.raises(ConfigError, match="empty"):
        await chat.reply(KEY, text)
    assert engine.asked == []


async def test_text_that_no_database_takes_is_mended(store: SessionStore) -> None:
    chat, _ = service(store)
    await chat.reply(KEY, "你\x00好\udcff😀")
    assert (await chat.history(KEY)).turns[0].text == "你好\ufffd😀"


async def test_a_blank_reply_is_generated_again(store: SessionStore) -> None:
    chat, engine = service(store, " \n", "", "好", defaults=SamplingParams(seed=7, temperature=0))
    assert [text async for text in chat.stream(KEY, "你好")] == ["好", "好"]
    assert [(params.seed, params.temperature) for _, params in engine.asked] == [(7, 0), (8, 0.8), (9, 0.8)]
    assert (await store.record(KEY))[1].tokens == 1


async def test_a_model_that_has_nothing_to_say(store: SessionStore) -> None:
    chat, engine = service(store, "", " ", "　", "不该有")
    assert await chat.reply(KEY, "你好") == SPEECHLESS
    assert len(engine.asked) == 3
    assert await chat.history(KEY) == Dialogue.of(["你好", SPEECHLESS])


async def test_surrounding_space_is_no_part_of_a_reply(store: SessionStore) -> None:
    chat, _ = service(store, " ok go ")
    assert [text async for text in chat.stream(KEY, "你好")] == ["o", "ok", "ok g", "ok go", "ok go"]


async def test_undo_and_reset_leave_the_record(store: SessionStore) -> None:
    chat, engine = service(store)
    await chat.reply(KEY, "一")
    await chat.reply(KEY, "二")
    assert await chat.undo(KEY) == Exchange("二", "答2")
    await chat.reply(KEY, "三")
    assert engine.asked[-1][0] == "一|答1|三"
    assert await chat.reset(KEY) == 4
    await chat.reply(KEY, "四")
    assert engine.asked[-1][0] == "四"
    assert len(await store.record(KEY)) == 8
    assert await chat.undo(OTHER) is None


async def test_retry_answers_the_same_prompt_anew(store: SessionStore) -> None:
    chat, engine = service(store, "差", "好", defaults=SamplingParams(seed=1, temperature=0))
    await chat.reply(KEY, "一")
    assert [text async for text in chat.retry(KEY)] == ["好", "好"]
    first, second = engine.asked
    assert first[0] == second[0] == "一"
    assert second[1].seed is None and second[1].temperature > 0
    assert await chat.history(KEY) == Dialogue.of(["一", "好"])


async def test_a_stopped_retry_keeps_the_old_reply(store: SessionStore) -> None:
    chat, engine = service(store, "旧的", "新的")
    await chat.reply(KEY, "一")
    async with aclosing(chat.retry(KEY)) as texts:
        assert await anext(texts) == "新"
    assert engine.running == 0
    assert await chat.history(KEY) == Dialogue.of(["一", "旧的"])


async def test_nothing_to_retry(store: SessionStore) -> None:
    chat, _ = service(store)
    with pytest.raises(ConfigError, match="nothing to answer again"):
        await anext(chat.retry(KEY))


async def test_settings_belong_to_a_session_and_last(store: SessionStore) -> None:
    chat, engine = service(store)
    await chat.set(KEY, "Top-K", "5")
    await chat.set(KEY, "temperature", 0)
    await chat.set(KEY, "seed", "3")
    chat, engine = service(store)
    await chat.reply(KEY, "一")
    await chat.reply(OTHER, "一")
    ours, theirs = (params for _, params in engine.asked)
    assert (ours.top_k, ours.temperature, ours.seed) == (5, 0, 3)
    assert (theirs.top_k, theirs.seed) == (SamplingParams().top_k, None)
    await chat.set(KEY, "top_k", None)
    assert (await chat.sampling(KEY)).top_k == SamplingParams().top_k


async def test_options_win_over_the_session_until_it_sets_anew(store: SessionStore) -> None:
    first, _ = service(store)
    await first.set(KEY, "top_k", 5)
    chat, _ = service(store, defaults=SamplingParams(top_p=0.5), overrides={"top_k": 9})
    assert (await chat.sampling(KEY)).top_k == 9
    assert (await chat.sampling(KEY)).top_p == 0.5
    await chat.set(KEY, "top_k", 7)
    assert (await chat.sampling(KEY)).top_k == 7


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("colour", "1", "no setting 'colour': choose from temperature, top_k"),
        ("stop_ids", "1", "no setting 'stop_ids'"),
        ("temperature", "hot", "must be a number"),
        ("temperature", "nan", "between 0 and 10"),
        ("temperature", "-1", "between 0 and 10"),
        ("top_k", "1.5", "must be a whole number"),
        ("top_k", float("inf"), "must be a whole number"),
        ("top_p", "2", "above 0 and at most 1"),
        ("seed", "-1", "0 or more"),
        ("max_new_tokens", "0", "max_new_tokens is 0|min_new_tokens is 1"),
        ("max_new_tokens", "1000", "allows 996 at most"),
    ],
)
async def test_settings_that_cannot_work(store: SessionStore, key: str, value: Any, problem: str) -> None:
    chat, _ = service(store)
    with pytest.raises(ConfigError, match=problem):
        await chat.set(KEY, key, value)
    assert await store.own(KEY) == ({}, None)


async def test_options_that_cannot_work(store: SessionStore) -> None:
    with pytest.raises(ConfigError, match="temperature is 99"):
        service(store, overrides={"temperature": 99})


KILLED = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from fakes.talking import Letters, Scripted
from chatgpt2.chat import ChatService
from chatgpt2.serving import Serving
from chatgpt2.store import SessionKey, SessionStore

KEY = SessionKey("terminal", chat="default")

async def main():
    engine = Scripted("你好呀", "在的", "说到一半就")
    chat = ChatService(Serving(engine, Letters()), await SessionStore.open(sys.argv[1]))
    print(await chat.reply(KEY, "你好"), await chat.reply(KEY, "在吗"), flush=True)
    engine.pause = asyncio.Event()
    async for text in chat.stream(KEY, "然后呢"):
        print(text, flush=True)

asyncio.run(main())
"""


async def test_kill_in_the_middle_of_a_reply_loses_no_finished_turn(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chat.db"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, url, str(Path(__file__).parents[1])],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "你好呀 在的\n"
        assert process.stdout.readline() == "说\n"
        process.send_signal(signal.SIGKILL)
    async with await SessionStore.open(url) as store:
        chat, engine = service(store, "好")
        assert await chat.history(KEY) == Dialogue.of(["你好", "你好呀", "在吗", "在的"])
        assert len(await store.record(KEY)) == 4
        assert await chat.reply(KEY, "然后呢") == "好"
        assert engine.asked[0][0] == "你好|你好呀|在吗|在的|然后呢"


async def test_running_replies_end_on_the_old_model_and_new_ones_begin_on_the_new(
    store: SessionStore,
) -> None:
    chat, old = service(store, "旧的回答", name="旧")
    old.pause, new = asyncio.Event(), Scripted("新的回答")
    running = asyncio.create_task(chat.reply(KEY, "一"))
    while not old.running:
        await asyncio.sleep(0)
    await chat.exchange(Serving(new, Letters(), name="新"))
    assert await chat.reply(OTHER, "二") == "新的回答"
    assert (old.closed, new.closed) == (0, 0)
    old.pause.set()
    assert await running == "旧的回答"
    assert (old.closed, new.closed) == (1, 0)
    assert [turn.model for key in (KEY, OTHER) for turn in (await store.record(key))[1:]] == ["旧", "新"]
    await chat.close()
    assert (old.closed, new.closed) == (1, 1)


async def test_a_cancelled_reply_does_not_keep_the_old_model(store: SessionStore) -> None:
    chat, old = service(store, "旧的回答")
    old.pause = asyncio.Event()
    running = asyncio.create_task(chat.reply(KEY, "一"))
    while not old.running:
        await asyncio.sleep(0)
    await chat.exchange(Serving(Scripted(), Letters()))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert old.closed == 1


async def test_a_model_that_the_settings_do_not_fit_is_not_taken(store: SessionStore) -> None:
    class Narrow(Letters):
        window = 50

    chat, old = service(store, "好", overrides={"max_new_tokens": 60})
    with pytest.raises(ConfigError, match="this model's window"):
        await chat.exchange(Serving(Scripted(), Narrow()))
    assert await chat.reply(KEY, "一") == "好"
    assert old.closed == 0
