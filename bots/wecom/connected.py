"""The smart bot by long connection: no address of one's own is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatgpt2.adapter import (
    Adapter,
    AdapterError,
    Health,
    Inbound,
    Inbox,
    Limits,
    Rejected,
    Reply,
    RetryLater,
    Services,
    read_settings,
)
from chatgpt2.bots.tencent.contact import Contact
from chatgpt2.bots.wecom.events import ENDED, LASTS, LONGEST, feedback_mark, inbound_of, shortened, stream_id
from chatgpt2.bots.wecom.line import Line, Refused

_TAKEN_OVER = 300.0  # seconds to stand back when a newer connection of the bot has come
_SILENCE = 90.0  # seconds, three beats
_STALE = {846605, 846608}  # the request is forgotten, the stream is over
_LATER = {-1: 3.0, 45009: 60.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """A smart bot that connects by itself. `beat`: seconds between pings."""

    bot_id: str
    secret: str
    url: str = "wss://openws.work.weixin.qq.com"
    beat: float = 30.0


def build(settings: Mapping[str, Any], services: Services) -> ConnectedBot:
    """See chatgpt2.adapter.Build."""
    return ConnectedBot(read_settings(Settings, settings), services)


class ConnectedBot(Adapter):
    """One smart bot. Only the process that holds the connection can answer."""

    name = "wecom-bot"
    limits = Limits(
        LONGEST, "utf8", reply_window=24 * 3600.0, preview="push", preview_interval=0.5, receiver_answers=True
    )

    def __init__(self, settings: Settings, services: Services) -> None:
        self.account = settings.bot_id
        self._settings, self.services = settings, services
        self._line: Line | None = None
        self.contact = Contact(services.clock)

    async def start(self, inbox: Inbox) -> None:
        """See chatgpt2.adapter.Adapter. A bot has one connection, so nothing is tried here."""
        self._inbox = inbox

    async def run(self) -> None:
        """See chatgpt2.adapter.Adapter."""
        try:
            await self._receive_all()
        except AdapterError as error:
            self.contact.failed(error)
            raise

    async def _receive_all(self) -> None:
        settings = self._settings
        subscription = (settings.bot_id, settings.secret, settings.beat, self.services.proxy)
        async with Line.open(settings.url, *subscription) as line:
            self._line = line
            self.contact.worked()
            try:
                async for frame in line:
                    await self._receive(frame)
            finally:
                self._line, self.contact.last = None, line.heard(self.services.clock)
        raise AdapterError("WeCom closed the connection")

    def open_reply(self, inbound: Inbound) -> Reply:
        """See chatgpt2.adapter.Adapter."""
        return _Stream(self, inbound)

    def health(self) -> Health:
        """See chatgpt2.adapter.Adapter."""
        line, contact = self._line, self.contact
        last = contact.last if line is None else line.heard(self.services.clock)
        return Health(last, contact.error, _SILENCE)

    async def stop(self) -> None:
        """The connection went with `run`."""

    async def respond(self, inbound: Inbound, text: str, *, finish: bool, first: bool) -> None:
        """Write the stream that answers a message. Raises RetryLater without a connection, and Refused."""
        stream = {"id": stream_id(inbound.chat_id, inbound.message_id), "finish": finish, "content": text}
        marked = first and self.services.feedback
        mark = {"feedback": {"id": feedback_mark(inbound.message_id)}} if marked else {}
        body = {"msgtype": "stream", "stream": {**stream, **mark}}
        await self._connected().ask("aibot_respond_msg", body, inbound.reply_to["req_id"])

    async def push(self, inbound: Inbound, text: str) -> None:
        """Send a message of its own, for when the stream is over. Raises what `respond` does."""
        body = {"chatid": inbound.chat_id, "msgtype": "markdown", "markdown": {"content": text}}
        await self._connected().ask("aibot_send_msg", body)

    def _connected(self) -> Line:
        if self._line is None:
            raise RetryLater(2, "there is no connection to WeCom")
        return self._line

    async def _receive(self, frame: Mapping[str, Any]) -> None:
        body = frame.get("body") or {}
        if (body.get("event") or {}).get("eventtype") == "disconnected_event":
            raise RetryLater(_TAKEN_OVER, "another connection of this bot has taken over")
        way = {"req_id": frame["headers"]["req_id"], "at": self.services.clock()}
        try:
            inbound = inbound_of(body, self.name, self.account, way)
        except ValueError as error:
            self.services.log.warning("a message cannot be read: %s", error)
            return
        if inbound is not None:
            await self._inbox.submit(inbound)


class _Stream(Reply):
    """The stream that answers one message."""

    def __init__(self, bot: ConnectedBot, inbound: Inbound) -> None:
        self._bot, self._inbound = bot, inbound
        self._shown, self._begun, self._ended = "", False, False
        self._over = bot.services.clock() - float(inbound.reply_to["at"]) >= LASTS

    async def preview(self, text_so_far: str) -> None:
        """See chatgpt2.adapter.Reply."""
        if self._over:
            return
        try:
            self._shown = shortened(text_so_far)
            first, self._begun = not self._begun, True
            await self._bot.respond(self._inbound, self._shown, finish=False, first=first)
        except (AdapterError, OSError, TimeoutError) as error:
            self._bot.services.log.info("a preview was not taken: %s", error)

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        """See chatgpt2.adapter.Reply. The first chunk ends the stream, others are messages of their own."""
        try:
            if index == 0 and not self._over:
                return await self._finish(chunk, feedback_id is not None)
            await self._bot.push(self._inbound, chunk)
        except Refused as error:
            self._bot.contact.failed(error)
            raise _meaning(error) from None
        self._bot.contact.worked()
        return ""

    async def close(self) -> None:
        """A stream that was begun must end."""
        if self._begun and not self._ended and not self._over:
            await self._bot.respond(self._inbound, self._shown + ENDED, finish=True, first=False)

    async def _finish(self, text: str, feedback: bool) -> str:
        try:
            await self._bot.respond(self._inbound, text, finish=True, first=feedback and not self._begun)
        except Refused as error:
            if error.code not in _STALE:
                raise
            await self._bot.push(self._inbound, text)
        self._ended = True
        self._bot.contact.worked()
        return feedback_mark(self._inbound.message_id)


def _meaning(error: Refused) -> AdapterError:
    if error.code in _LATER:
        return RetryLater(_LATER[error.code], str(error))
    return Rejected(str(error))
