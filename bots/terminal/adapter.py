"""The terminal as an adapter: what somebody types goes to the inbox, and the answer comes back as it grows."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from chatgpt2.adapter import Adapter, AdapterError, Inbound, Inbox, Limits, Reply, read_settings
from chatgpt2.bots.terminal.screen import Note, Terminal

__all__ = ["Settings", "TerminalBot", "read_settings"]

_LONGEST = 1 << 13  # characters; a screen takes any number, and what is cut is shown as one


@dataclass(frozen=True, slots=True)
class Settings:
    """The adapter's own settings.

    session   the conversation's name
    history   the file that keeps what was typed
    """

    session: str = "default"
    history: str | None = None


class TerminalBot(Adapter):
    """One person at one terminal. Without `settings` somebody else reads the lines, and hands them to `say`."""

    name, account = "terminal", ""
    limits = Limits(_LONGEST, preview="pull")  # which shows every piece

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._screen: Terminal | None = None
        self._inbox: Inbox | None = None
        self._answers: dict[str, _Answer] = {}
        self._ending = False

    async def start(self, inbox: Inbox) -> None:
        """See Adapter."""
        if self._settings is not None and not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise AdapterError(
                "The terminal bot needs a terminal; `chatgpt2 chat` reads lines of a pipe too."
            )
        self._inbox = inbox

    async def run(self) -> None:
        """Talk until the person leaves, which ends the process as Ctrl-C does."""
        if self._settings is None:
            return
        history = self._settings.history
        screen = Terminal(Path(history).expanduser() if history else None)
        talking = asyncio.create_task(self.talk(screen, self._settings.session))
        try:
            await asyncio.shield(talking)
        except asyncio.CancelledError:
            self._ending = True
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            raise
        signal.raise_signal(signal.SIGINT)

    async def talk(self, screen: Terminal, session: str) -> None:
        """Read lines and show their answers, until the person leaves."""
        self._screen = screen
        await screen.run(lambda line: self.say(line, session))

    async def say(self, text: str, session: str, message_id: str | None = None) -> AsyncGenerator[str]:
        """Say something in a session; the answer so far, again and again, a Note when it is not the model's.

        Closing the iterator stops the answer. Raises StoreError.
        """
        assert self._inbox is not None, "start comes before"
        name = message_id or uuid4().hex
        answer, inbound = _Answer(), Inbound(self.name, self.account, session, "", name, text)
        self._answers.setdefault(inbound.message_id, answer)
        try:
            if await self._inbox.submit(inbound):
                while (so_far := await answer.texts.get()) is not None:
                    yield so_far
        except (asyncio.CancelledError, GeneratorExit):
            if not self._ending:  # else the line is answered when the process is back
                await self._inbox.submit(replace(inbound, message_id=uuid4().hex, text="", kind="stop"))
            raise
        finally:
            if self._answers.get(inbound.message_id) is answer:
                del self._answers[inbound.message_id]

    async def stop(self) -> None:
        """See Adapter. Nobody is to wait for an answer any more."""
        self._ending = True
        for answer in self._answers.values():
            await answer.close()

    def open_reply(self, inbound: Inbound) -> Reply:
        """See Adapter."""
        return self._answers.get(inbound.message_id) or _Late(self._screen)


class _Answer(Reply):
    """To a line that somebody waits for. `texts`: the answer so far, then None."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._whole = ""
        self._spoken = False

    async def preview(self, text_so_far: str) -> None:
        self._spoken = True
        self.texts.put_nowait(text_so_far)

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        self._whole = f"{self._whole}\n{chunk}" if index else chunk
        # Only what the model says can be judged, so what comes without an id is the program's.
        spoken = self._spoken or feedback_id is not None
        self.texts.put_nowait(self._whole if spoken else Note(self._whole))
        return ""

    async def close(self) -> None:
        self.texts.put_nowait(None)


class _Late(Reply):
    """To a line that nobody waits for any more: it was typed before the program ended."""

    def __init__(self, screen: Terminal | None) -> None:
        self._screen = screen

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        if self._screen is not None:
            self._screen.announce(chunk)
        return ""
