"""The terminal as a chat platform: reads lines, shows the growing reply."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output
from prompt_toolkit.shortcuts import print_formatted_text
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]


class Note(str):
    """Text of the program, not of the bot: shown without a speaker, and dim."""


class Leave(Exception):
    """Raised while answering a line: the person wants to go."""


# Answers a line with the full text so far, again and again; a Note may come first and is then replaced.
Answer = Callable[[str], AsyncGenerator[str]]

_STYLE = Style.from_dict({"user": "ansigreen bold", "bot": "ansicyan bold", "note": "ansibrightblack"})
_USER, _BOT = "你 › ", "机器人 › "


class Terminal:
    """A conversation with a person at a terminal. `history` is the file that keeps what was typed."""

    def __init__(
        self, history: Path | None = None, *, input: Input | None = None, output: Output | None = None
    ) -> None:
        if history is not None:
            history.parent.mkdir(parents=True, exist_ok=True)
        self._prompt: PromptSession[str] = PromptSession(
            history=InMemoryHistory() if history is None else FileHistory(str(history)),
            # Only a command makes room for the menu below it; else the prompt would stand above blank rows.
            complete_while_typing=Condition(lambda: _begins_command(self._prompt.default_buffer.text)),
            style=_STYLE,
            input=input,
            output=output,
        )
        self._output = self._prompt.output

    async def run(self, answer: Answer, words: Mapping[str, str] | None = None) -> None:
        """Talk until the person leaves: Ctrl-D, or an answer that raises Leave.

        `words` are the commands, without slash, and what each does: they are completed.
        """
        self._prompt.completer = _Commands(words or {})
        with no_echo(), contextlib.suppress(Leave):
            while (line := await self._read()) is not None:
                if line.strip():
                    await self._show(answer(line))
        self.note("再见！")

    def note(self, text: str) -> None:
        """Show a line of the program."""
        self._print("note", text + "\n")

    def announce(self, text: str) -> None:
        """Show a line of the program that may come while the person is typing."""
        if self._prompt.app.is_running:
            run_in_terminal(lambda: self.note(text))
        else:
            self.note(text)

    async def _read(self) -> str | None:
        """The next line; None when there is none any more."""
        while True:
            try:
                return await self._prompt.prompt_async([("class:user", _USER)])
            except KeyboardInterrupt:
                if not self._prompt.default_buffer.text:
                    self.note("（按 Ctrl-D 或输入 /quit 离开）")
            except EOFError:
                return None

    async def _show(self, texts: AsyncGenerator[str]) -> None:
        """Show an answer; Ctrl-C stops the answer, not the conversation."""
        growing = _GrowingText(self._output, self._print)
        task = asyncio.create_task(_stream(texts, growing))
        with _interrupts(task) as interrupted:
            try:
                await task
            except asyncio.CancelledError:
                if not interrupted:
                    task.cancel()
                    raise
        growing.end("（已停止）" if task.cancelled() else "")

    def _print(self, style: str, text: str) -> None:
        print_formatted_text(
            FormattedText([(f"class:{style}", text)]), end="", style=_STYLE, output=self._output
        )


async def _stream(texts: AsyncGenerator[str], growing: _GrowingText) -> None:
    async with aclosing(texts):
        async for text in texts:
            growing.show(text)


class _GrowingText:
    """Text on the screen that grows: only what is new is written; what does not grow is written anew."""

    def __init__(self, output: Output, paint: Callable[[str, str], None]) -> None:
        self._output = output
        self._paint = paint
        self._shown: str | None = None

    def show(self, text: str) -> None:
        if self._shown is None:
            self._begin(text)
        elif type(text) is type(self._shown) and text.startswith(self._shown):
            self._write(text, text[len(self._shown) :])
        elif text != self._shown or type(text) is not type(self._shown):
            self._erase(self._shown)
            self._begin(text)
        self._shown = text

    def end(self, remark: str = "") -> None:
        if remark:
            self._paint("note", f" {remark}" if self._shown else remark)
        if remark or self._shown is not None:
            self._output.write("\n")
            self._output.flush()

    def _begin(self, text: str) -> None:
        if not isinstance(text, Note):
            self._paint("bot", _BOT)
        self._write(text, text)

    def _write(self, text: str, new: str) -> None:
        if isinstance(text, Note):
            self._paint("note", new)
        else:
            self._output.write(new)  # control characters cannot get through: prompt_toolkit replaces them
            self._output.flush()

    def _erase(self, text: str) -> None:
        whole = text if isinstance(text, Note) else _BOT + text
        rows = count_rows(whole, self._output.get_size().columns)
        self._output.write_raw("\r")
        if rows > 1:
            self._output.cursor_up(rows - 1)
        self._output.erase_down()


def count_rows(text: str, columns: int) -> int:
    """How many rows of a screen so wide `text` takes; a wide character that does not fit begins a new row."""
    rows, column = 1, 0
    for letter in text:
        width = max(0, get_cwidth(letter))
        if letter == "\n":
            rows, column = rows + 1, 0
        elif column + width > columns:
            rows, column = rows + 1, width
        else:
            column += width
    return rows


def _begins_command(text: str) -> bool:
    return text.startswith(("/", "／"))


class _Commands(Completer):
    """Completes /commands, in any of their names, on the first word only."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        typed = document.text_before_cursor
        if not _begins_command(typed) or " " in typed or "\n" in typed:
            return
        for word, meaning in self._words.items():
            if word.startswith(typed[1:].lower()):
                yield Completion(f"/{word}", -len(typed), display_meta=meaning)


@contextlib.contextmanager
def _interrupts(task: asyncio.Task[None]) -> Iterator[list[bool]]:
    """While this lasts Ctrl-C cancels `task`. The list has an entry when it did."""
    interrupted: list[bool] = []
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        interrupted.append(True)
        loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def no_echo() -> Iterator[None]:
    """What is typed while no prompt is up must not show in the middle of a reply; it waits."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


async def answer_lines(answer: Answer, source: BinaryIO, sink: TextIO) -> None:
    """The conversation without a terminal: each line read is a message, each reply one line written."""
    for number, raw in enumerate(source):
        line = raw.decode("utf-8-sig" if number == 0 else "utf-8", "replace").strip()
        if not line:
            continue
        try:
            final = await last(answer(line))
        except Leave:
            return
        if final is not None:
            print(final, file=sink, flush=True)


async def last(texts: AsyncGenerator[str]) -> str | None:
    """The final text of a stream."""
    final = None
    async with aclosing(texts):
        async for text in texts:
            final = text
    return final
