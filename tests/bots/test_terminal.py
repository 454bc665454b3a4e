from __future__ import annotations

import asyncio
import contextlib
import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.base import PipeInput
from prompt_toolkit.output import DummyOutput

from chatgpt2.bots.terminal import Leave, Note, Terminal, answer_lines
from chatgpt2.bots.terminal.screen import _Commands, count_rows


class Screen(DummyOutput):
    """Keeps what is written between prompts; erasing empties it from the cursor's row on."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, data: str) -> None:
        self.text += data

    def write_raw(self, data: str) -> None:
        self.text += data

    def cursor_up(self, amount: int) -> None:
        self.text += f"<up {amount}>"

    def erase_down(self) -> None:
        self.text += "<erase>"

    def get_size(self) -> Size:
        return Size(rows=24, columns=20)


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe:
        yield pipe


async def echo(line: str) -> AsyncGenerator[str]:
    if line == "/quit":
        raise Leave
    if line == "/note":
        yield Note("说明")
        return
    yield "你说"
    yield f"你说{line}"


async def converse(keys: PipeInput, typed: str, **more: object) -> str:
    screen = Screen()
    keys.send_text(typed)
    terminal = Terminal(input=keys, output=screen, **more)  # type: ignore[arg-type]
    await terminal.run(echo)
    return screen.text.replace("\r\n", "\n")


async def test_a_reply_grows_by_what_is_new(keys: PipeInput) -> None:
    shown = await converse(keys, "你好\r/note\r\x04")
    assert "机器人 › 你说你好\n" in shown
    assert "<erase>" not in shown.split("机器人 › ")[1].split("\n")[0]
    assert "说明\n" in shown and "机器人 › 说明" not in shown
    assert shown.endswith("再见！\n")


async def test_a_blank_line_is_no_message(keys: PipeInput) -> None:
    assert "机器人" not in await converse(keys, "  \r\r\x04")


async def test_an_answer_may_end_the_conversation(keys: PipeInput) -> None:
    assert (await converse(keys, "/quit\r")).endswith("再见！\n")


async def test_ctrl_c_at_the_prompt_says_how_to_leave(keys: PipeInput) -> None:
    hint = "（按 Ctrl-D 或输入 /quit 离开）"
    assert hint in await converse(keys, "\x03\x04")
    assert hint not in await converse(keys, "打了一半\x03\x04")


async def test_a_paste_of_several_lines_is_one_message(keys: PipeInput) -> None:
    shown = await converse(keys, "\x1b[200~第一行\r\n第二行\n\x1b[201~\r\x04")
    assert "机器人 › 你说第一行\n第二行" in shown


async def test_what_was_typed_is_kept(keys: PipeInput, tmp_path: Path) -> None:
    history = tmp_path / "new" / "history"
    await converse(keys, "你好\r\x04", history=history)
    assert "+你好" in history.read_text(encoding="utf-8")
    assert "机器人 › 你说你好\n" in await converse(keys, "\x1b[A\r\x04", history=history)


async def test_text_that_does_not_grow_is_drawn_anew(keys: PipeInput) -> None:
    async def changing(line: str) -> AsyncGenerator[str]:
        yield Note("请稍候")
        yield "一二三四五六七八"
        yield "改"

    screen = Screen()
    keys.send_text("你好\r\x04")
    await Terminal(input=keys, output=screen).run(changing)
    assert "请稍候\r<erase>机器人 › 一二三四五六七八\r<up 1><erase>机器人 › 改\n" in screen.text


async def test_ctrl_c_stops_the_reply_and_keeps_the_conversation(keys: PipeInput) -> None:
    closed = []

    async def endless(line: str) -> AsyncGenerator[str]:
        if line != "一直说":
            yield "好"
            return
        try:
            yield "说着"
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            closed.append(line)

    screen = Screen()
    before = signal.getsignal(signal.SIGINT)
    keys.send_text("一直说\r再来\r\x04")
    await Terminal(input=keys, output=screen).run(endless)
    assert closed == ["一直说"]
    assert "机器人 › 说着 （已停止）\n" in screen.text
    assert "机器人 › 好\n" in screen.text
    assert signal.getsignal(signal.SIGINT) is before


async def test_cancelling_the_terminal_is_no_interrupt(keys: PipeInput) -> None:
    started = asyncio.Event()

    async def endless(line: str) -> AsyncGenerator[str]:
        started.set()
        await asyncio.sleep(60)
        yield ""

    keys.send_text("你好\r")
    task = asyncio.create_task(Terminal(input=keys, output=Screen()).run(endless))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("text", "rows"),
    [("", 1), ("一二三四五", 1), ("一二三四五六", 2), ("a一二三四五", 2), ("abcdefghij", 1), ("一\n二\n", 3)],
)
def test_rows_of_wide_characters(text: str, rows: int) -> None:
    assert count_rows(text, 10) == rows


def test_commands_are_completed_in_every_name() -> None:
    completer = _Commands({"reset": "重新开始", "重置": "重新开始", "retry": "重答"})

    def complete(text: str) -> list[str]:
        return [each.text for each in completer.get_completions(Document(text), CompleteEvent())]

    assert complete("/re") == ["/reset", "/retry"]
    assert complete("／重") == ["/重置"]
    assert complete("re") == complete("/reset ") == complete("说 /re") == []


async def test_lines_of_a_pipe() -> None:
    sink = io.StringIO()
    source = io.BytesIO("\ufeff你好\r\n\n  \n再见".encode() + b"\n\xff\n/note\n/quit\nlost\n")
    await answer_lines(echo, source, sink)
    assert sink.getvalue().splitlines() == ["你说你好", "你说再见", "你说\ufffd", "说明"]


REAL = """
import asyncio
from chatgpt2.bots.terminal import Terminal

async def slow(line):
    yield "听到了"
    if line == "慢":
        await asyncio.sleep(60)
    yield "听到了：" + line

asyncio.run(Terminal().run(slow))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_real_terminal() -> None:
    import pty

    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", "PROMPT_TOOLKIT_NO_CPR": "1"}
    tty = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen([sys.executable, "-c", REAL], **tty, env=env, start_new_session=True)
    os.close(theirs)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([ours], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    seen += os.read(ours, 4096).decode("utf-8", "replace")
        seen = seen.split(text, 1)[1]

    try:
        until("你 ›")
        os.write(ours, "慢\r".encode())
        until("听到了")
        process.send_signal(signal.SIGINT)
        until("（已停止）")
        until("你 ›")
        os.write(ours, "快\r".encode())
        until("听到了：快")
        until("你 ›")
        os.write(ours, b"\x04")
        until("再见！")
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
