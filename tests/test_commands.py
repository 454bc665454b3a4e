from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.talking import Letters, Scripted

from chatgpt2.chat import SETTINGS, ChatService
from chatgpt2.commands import SHARED, Order, obey, read_order
from chatgpt2.dialogue import Dialogue
from chatgpt2.serving import Serving
from chatgpt2.store import SessionKey, SessionStore

KEY = SessionKey("terminal", chat="default")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ChatService]:
    async with await SessionStore.open(f"sqlite:///{tmp_path}/chat.db") as store:
        yield ChatService(Serving(Scripted(), Letters()), store)


async def do(service: ChatService, line: str) -> str:
    order = read_order(line)
    assert order is not None
    return await obey(order, service, KEY)


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("/help", "help", ""),
        (" /RESET ", "reset", ""),
        ("／undo", "undo", ""),
        ("／ｒｅｔｒｙ", "retry", ""),
        ("/帮助", "help", ""),
        ("／重置", "reset", ""),
        ("/撤销", "undo", ""),
        ("/重试", "retry", ""),
        ("/历史", "history", ""),
        ("/设置　temperature 0.5", "settings", "temperature 0.5"),
        ("/set  top_k  5 ", "settings", "top_k  5"),
        ("/nonsense", None, ""),
        ("/", None, ""),
    ],
)
def test_orders(line: str, name: str | None, argument: str) -> None:
    order = read_order(line)
    assert order is not None
    assert (order.name, order.argument) == (name, argument)


@pytest.mark.parametrize("line", ["你好", "a/b", "", "帮助", "1／2"])
def test_what_is_said_is_no_order(line: str) -> None:
    assert read_order(line) is None


def test_names_are_unique() -> None:
    names = [name for each in SHARED for name in (each.name, *each.aliases)]
    assert len(names) == len(set(names))


async def test_help_names_every_command(service: ChatService) -> None:
    shown = await do(service, "/help")
    for each in SHARED:
        assert f"/{each.name}" in shown and each.meaning in shown
        assert all(f"/{alias}" in shown for alias in each.aliases)


async def test_undo_history_and_reset(service: ChatService) -> None:
    assert await do(service, "/undo") == "没有可以撤回的话。"
    assert await do(service, "/history") == "还没有说过话。"
    assert await do(service, "/reset") == "好的，我们开始吧。"
    await service.reply(KEY, "一")
    await service.reply(KEY, "二")
    assert await do(service, "/历史") == "你：一\n机器人：答1\n你：二\n机器人：答2"
    assert await do(service, "/撤回") == "已撤回「二」和它的回答。"
    assert await do(service, "/清空") == "好的，我们重新开始。（前面的 2 句仍在记录里）"
    assert await service.history(KEY) == Dialogue()


async def test_settings_are_shown_changed_and_given_back(service: ChatService) -> None:
    for line in ("/set", "/set temperature"):
        shown = await do(service, line)
        assert all(f"{name} = " in shown for name in SETTINGS)
    assert "seed = 随机" in await do(service, "/set")
    assert await do(service, "/set Temperature=0.5") == "temperature 已设为 0.5。"
    assert await do(service, "/设置 top-k 5") == "top_k 已设为 5。"
    assert (await service.sampling(KEY)).top_k == 5
    assert await do(service, "/set top_k 默认") == "top_k 已设为 20。"


async def test_settings_that_cannot_work(service: ChatService) -> None:
    names = "、".join((*SETTINGS, "persona"))
    assert await do(service, "/set 颜色 红") == f"没有 颜色 这个设置，可以用的有：{names}。"
    assert (await do(service, "/set temperature 99")).startswith("temperature 不能设为 99（")
    assert (await do(service, "/set top_k 很多")).startswith("top_k 不能设为 很多（")


async def test_an_unknown_command_gets_a_hint(service: ChatService) -> None:
    assert await do(service, "/rest") == "没有 /rest 这个命令。是不是想用 /reset？输入 /help 看看有哪些。"
    assert await obey(Order(None, "", "微笑"), service, KEY) == "没有 /微笑 这个命令。输入 /help 看看有哪些。"


async def test_opinions_are_taken_in_plain_words(service: ChatService) -> None:
    assert await do(service, "/反馈 好") == "还没有可以评价的回答。"
    await service.reply(KEY, "你好")
    assert (await do(service, "/feedback")).startswith("怎么评价？")
    assert await do(service, "／反馈 差 太短了") == "记下了，谢谢！"
    assert await service.verdicts(KEY) == {1: "down"}
    assert await do(service, "/feedback 👍") == "记下了，谢谢！"
    assert await service.verdicts(KEY) == {1: "up"}
    assert await do(service, "/feedback 挺有意思的") == "记下了，谢谢！"


async def test_who_opts_out_is_out_until_they_opt_in(service: ChatService) -> None:
    assert "不会用于训练" in await do(service, "/optout")
    assert await service.opted_out(KEY)
    assert "可以用于训练" in await do(service, "/加入训练")
    assert not await service.opted_out(KEY)


async def test_a_persona_is_set_shown_and_taken_back(service: ChatService) -> None:
    assert "persona = 无" in await do(service, "/设置")
    assert await do(service, "/设置 人设 你叫什么 | 我叫小智") == "开场白已设为 你叫什么｜我叫小智。"
    assert "persona = 你叫什么｜我叫小智（" in await do(service, "/settings")
    assert (await do(service, "/set persona 一｜二｜三")).startswith("这个开场白不行")
    assert await do(service, "/set persona 默认") == "开场白已恢复默认。"
    assert await service.persona(KEY) == ()


async def test_start_greets_and_stop_tells_whether_there_was_something(service: ChatService) -> None:
    assert (await do(service, "/start")).startswith("你好！")
    assert await do(service, "/停") == "现在没有在说的回答。"
