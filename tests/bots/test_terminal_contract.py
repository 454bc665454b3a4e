from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from adapter_rig import Notebook
from fakes.platforms import AtTerminal
from prompt_toolkit.input import create_pipe_input
from test_terminal import Screen

from chatgpt2.adapter import AdapterError, ConfigError, Inbound, find
from chatgpt2.adapter.testing import CHECKS, Platform
from chatgpt2.bots.terminal import Note, Terminal, build
from chatgpt2.bots.terminal.adapter import TerminalBot

# A screen refuses nothing.
KEPT = [check for check in CHECKS if not check.__name__.startswith(("a_refusal", "a_closed"))]


@pytest.mark.parametrize("check", KEPT, ids=lambda check: check.__name__)
async def test_the_contract_is_kept(
    check: Callable[[Platform, Path], Awaitable[None]], tmp_path: Path
) -> None:
    await check(AtTerminal(), tmp_path)


async def answered(bot: TerminalBot, line: str, *acts: str) -> list[tuple[str, bool]]:
    """What a line gets, and which of it is the program's: the acts are "+text" for a preview, "=text" for the
    model's own words, "text" for the program's."""

    async def answer(inbound: Inbound) -> None:
        reply = bot.open_reply(inbound)
        number = 0
        for act in acts:
            if act.startswith("+"):
                await reply.preview(act[1:])
            else:
                judged = "f" if act.startswith("=") else None
                await reply.send(act.lstrip("="), index=number, final=act == acts[-1], feedback_id=judged)
                number += 1
        await reply.close()

    await bot.start(Notebook(answer))
    return [(text, isinstance(text, Note)) async for text in bot.say(line, "default")]


async def test_the_models_words_are_told_from_the_programs() -> None:
    bot = TerminalBot()
    assert await answered(bot, "你好", "+你", "+你好", "=你好呀") == [
        *(("你", False), ("你好", False), ("你好呀", False)),
    ]
    assert await answered(bot, "/help", "可以") == [("可以", True)]
    assert await answered(bot, "长", "=上", "=下") == [("上", False), ("上\n下", False)]
    assert await answered(bot, "停") == []


async def test_who_does_not_wait_any_more_stops_the_answer() -> None:
    bot, book = TerminalBot(), Notebook()
    await bot.start(book)
    waiting = asyncio.create_task(anext(bot.say("你好", "默认")))
    await book.count(1)
    waiting.cancel()
    await book.count(2)
    said, stop = book.got
    assert (said.kind, said.text, said.chat_id, said.user_id) == ("text", "你好", "默认", "")
    assert (stop.kind, stop.chat_id) == ("stop", "默认") and stop.message_id != said.message_id


async def test_the_answer_to_an_earlier_line_is_shown_before_the_prompt() -> None:
    bot, screen = TerminalBot(), Screen()
    with create_pipe_input() as keys:
        talking = asyncio.create_task(bot.talk(Terminal(input=keys, output=screen), "default"))
        await asyncio.sleep(0)
        late = bot.open_reply(Inbound("terminal", "", "default", "", "m1", "昨天说的"))
        await late.send("今天才答", index=0, final=True, feedback_id="f")
        await late.close()
        keys.send_text("\x04")
        await talking
    assert "今天才答\n" in screen.text.replace("\r", "")


async def test_without_a_terminal_it_says_what_to_do() -> None:
    plugin = find("terminal")
    assert plugin.build is build and plugin.package == "chatgpt2"
    with pytest.raises(AdapterError, match="`chatgpt2 chat` reads lines of a pipe too"):
        await build({"session": "工作"}, None).start(Notebook())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there is no setting sesion: there are session, history"):
        build({"sesion": "工作"}, None)  # type: ignore[arg-type]
