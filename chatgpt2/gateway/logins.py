"""Logging a bot in from elsewhere than its terminal: what it says and asks, for a page that looks again and again."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from chatgpt2.adapter import Console
from chatgpt2.errors import AdapterError, StoreError
from chatgpt2.gateway.supervising import Bot

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoginReport:
    """How a login is. `qr`: what the QR code to be scanned now says; `question`: what waits for an answer."""

    running: bool
    said: tuple[str, ...]
    qr: str | None
    question: str | None
    secret: bool
    error: str | None


class Login(Console):
    """One login, under way since it was made."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._said: list[str] = []
        self._qr: str | None = None
        self._error: str | None = None
        self._question: tuple[str, bool, asyncio.Future[str]] | None = None
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._bot.adapter.login(self)
        except (AdapterError, StoreError) as error:
            self._error = str(error)
        except Exception as error:  # whatever a stranger's adapter does
            log.error("the login of %s failed: %r", self._bot.name, error)
            self._error = f"{type(error).__name__}: {error}"
        else:
            self._bot.start_again()
        finally:
            self._qr = self._question = None

    def say(self, text: str) -> None:
        """See Console."""
        self._said.append(text)

    def show_qr(self, content: str) -> None:
        """See Console."""
        self._qr = content

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """See Console."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._question = (question, secret, answer)
        try:
            return await answer
        finally:
            self._question = None

    def answer(self, text: str) -> bool:
        """Answer what is asked. False: nothing is."""
        if self._question is None or self._question[2].done():
            return False
        self._question[2].set_result(text)
        return True

    def report(self) -> LoginReport:
        """How it is."""
        question, secret, _ = self._question or (None, False, None)
        return LoginReport(not self._task.done(), tuple(self._said), self._qr, question, secret, self._error)

    async def end(self) -> None:
        """Give it up, if it is still under way."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
