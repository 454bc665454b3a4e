"""The adapter: one long poll, and a budget of sends for each message."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx

from chatgpt2.adapter import (
    Adapter,
    AdapterError,
    Console,
    Health,
    Inbound,
    Inbox,
    Kind,
    Limits,
    Reply,
    RetryLater,
    Services,
    WindowClosed,
    read_settings,
)
from chatgpt2.bots.wechat_personal.ilink import SPENT, STALE, Ilink, IlinkError
from chatgpt2.bots.wechat_personal.login import log_in

_LONG_POLL, _LONGEST_POLL = 35.0, 300.0  # seconds: unless iLink names others, and what is believed of it
_STALE_PAUSE = 3600.0  # seconds before a login that is over is tried again
_LOOK = 5.0  # seconds between looks for a new login
_TICKET_HOLDS = 12 * 3600.0  # seconds, half of what iLink says
_WINDOW = 24 * 3600.0
_STALE_SAID = "the login is over: run `chatgpt2 bot login` for this bot"
_OTHER_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """A bot that its owner has as a contact. What it logs in with is in the state, from `chatgpt2 bot login`."""

    base_url: str = "https://ilinkai.weixin.qq.com"


def build(settings: Mapping[str, Any], services: Services) -> WeChatPersonal:
    """See chatgpt2.adapter.Build."""
    return WeChatPersonal(read_settings(Settings, settings), services)


class WeChatPersonal(Adapter):
    """One login. It talks with its owner only: there are no groups."""

    name = "wechat-personal"
    limits = Limits(4000, "chars", sends_per_inbound=10, reply_window=_WINDOW - 60)

    def __init__(self, settings: Settings, services: Services) -> None:
        self.account = ""
        self._settings, self.services = settings, services
        self._tickets: dict[str, tuple[float, str]] = {}
        self._failures = 0
        self._long_poll = _LONG_POLL
        self._health = Health(silence=3 * self._long_poll)

    async def start(self, inbox: Inbox) -> None:
        """See chatgpt2.adapter.Adapter."""
        self._inbox = inbox
        await self.line()

    async def run(self) -> None:
        """See chatgpt2.adapter.Adapter."""
        line = await self.line()
        with suppress(AdapterError, httpx.HTTPError):
            await line.post("msg/notifystart", {})
        try:
            while True:
                await self._poll(line)
        except IlinkError as error:
            if error.code == STALE:
                await self._wait_for_login()
            raise self._failed(error) from None
        except httpx.HTTPError as error:
            raise self._failed(error) from None
        finally:
            with suppress(AdapterError, httpx.HTTPError):
                await line.post("msg/notifystop", {}, timeout=2)

    def open_reply(self, inbound: Inbound) -> Reply:
        """See chatgpt2.adapter.Adapter."""
        return _Way(self, inbound)

    def health(self) -> Health:
        """See chatgpt2.adapter.Adapter."""
        return self._health

    async def login(self, console: Console) -> None:
        """See chatgpt2.adapter.Adapter."""
        kept = await self.services.state.get("login")
        known = kept["token"] if kept else None
        new = await log_in(self.services.http, self._settings.base_url, console, known)
        if new is not None:
            await self.services.state.set("login", new)

    async def stop(self) -> None:
        """Nothing is held."""

    async def line(self) -> Ilink:
        """iLink with the present login, which another process may have made. Raises AdapterError without one."""
        login = await self.services.state.get("login")
        if login is None:
            how = "run `chatgpt2 bot login` for it, or do it on the page /admin"
            raise AdapterError(f"The bot is not logged in to WeChat: {how}.")
        self.account = login["bot"]
        return Ilink(self.services.http, login["base_url"], login["token"])

    async def context(self, person: str) -> str | None:
        """The newest context token of this person: what iLink knows the conversation by."""
        token: str | None = await self.services.state.get(f"{self.account}:context:{person}")
        return token

    async def ticket(self, person: str) -> str:
        """What "is typing" is shown with. Raises what Ilink.post does."""
        until, ticket = self._tickets.get(person, (0.0, ""))
        if self.services.clock() >= until:
            body = {"ilink_user_id": person, "context_token": await self.context(person)}
            ticket = str((await (await self.line()).post("getconfig", body))["typing_ticket"])
            self._tickets[person] = (self.services.clock() + _TICKET_HOLDS, ticket)
        return ticket

    async def _poll(self, line: Ilink) -> None:
        """Receive once. The cursor moves when everything before it is stored."""
        key = f"{self.account}:cursor"
        cursor = await self.services.state.get(key) or ""
        try:
            answer = await line.post("getupdates", {"get_updates_buf": cursor}, timeout=self._long_poll + 5)
        except httpx.ReadTimeout:  # nothing was said
            answer = {}
        self._failures, self._long_poll = 0, _long_poll(answer, self._long_poll)
        self._health = Health(last_contact=self.services.clock(), silence=3 * self._long_poll)
        for message in answer.get("msgs") or ():
            await self._receive(message)
        if answer.get("get_updates_buf"):
            await self.services.state.set(key, answer["get_updates_buf"])

    async def _receive(self, message: Mapping[str, Any]) -> None:
        inbound = _inbound(message, self.name, self.account)
        if inbound is None:
            return
        token = message.get("context_token")
        if token and token != await self.context(inbound.chat_id):
            await self.services.state.set(f"{self.account}:context:{inbound.chat_id}", token, of=inbound)
        await self._inbox.submit(inbound)

    async def _wait_for_login(self) -> None:
        """Nothing is asked with a login that is over; a new one is found at once."""
        self.services.log.error("%s", _STALE_SAID)
        self._health = Health(self._health.last_contact, _STALE_SAID, self._health.silence)
        old, began = await self.services.state.get("login"), self.services.clock()
        while self.services.clock() < began + _STALE_PAUSE:
            if await self.services.state.get("login") != old:
                raise RetryLater(0, "there is a new login")
            await asyncio.sleep(_LOOK)

    def _failed(self, error: Exception) -> RetryLater:
        """Three failures in a row are more than bad luck."""
        self._failures += 1
        self._health = Health(self._health.last_contact, str(error) or repr(error), self._health.silence)
        return RetryLater(2 if self._failures < 3 else 30, str(error) or repr(error))


class _Way(Reply):
    """Back to the owner."""

    def __init__(self, adapter: WeChatPersonal, inbound: Inbound) -> None:
        self._adapter, self._inbound = adapter, inbound

    async def typing(self, on: bool) -> None:
        """See chatgpt2.adapter.Reply."""
        person = self._inbound.chat_id
        ticket = await self._adapter.ticket(person)
        body = {"ilink_user_id": person, "typing_ticket": ticket, "status": 1 if on else 2}
        await (await self._adapter.line()).post("sendtyping", body)

    async def preview(self, text_so_far: str) -> None:
        """WeChat shows nothing before it is whole, and would count it."""

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        """See chatgpt2.adapter.Reply."""
        person = self._inbound.chat_id
        token = await self._adapter.context(person) or self._inbound.reply_to.get("context")
        if not token:  # iLink would say yes, and drop it
            raise WindowClosed("there is no context token for this person")
        message = {
            "from_user_id": "",
            "to_user_id": person,
            "client_id": str(
                uuid5(NAMESPACE_URL, f"{self._inbound.account}/{self._inbound.message_id}/{index}")
            ),
            "message_type": 2,
            "message_state": 2,
            "item_list": [{"type": 1, "text_item": {"text": chunk}}],
            "context_token": token,
        }
        try:
            answer = await (await self._adapter.line()).post("sendmessage", {"msg": message})
        except IlinkError as error:
            raise _meaning(error) from None
        return str(answer.get("message_id", ""))

    async def close(self) -> None:
        """Nothing is held."""


def _meaning(error: IlinkError) -> AdapterError:
    if error.code == SPENT:
        return WindowClosed(f"WeChat takes no more answers to this message ({error})")
    if error.code == STALE:
        return RetryLater(60, _STALE_SAID)
    return RetryLater(_OTHER_PAUSE, str(error))


def _long_poll(answer: Mapping[str, Any], before: float) -> float:
    """Seconds for which iLink keeps the next question open."""
    named = answer.get("longpolling_timeout_ms")
    return min(named / 1000, _LONGEST_POLL) if isinstance(named, int) and named > 0 else before


def _inbound(message: Mapping[str, Any], platform: str, account: str) -> Inbound | None:
    """What the owner said; None for what the bot said itself, and for groups."""
    person = str(message.get("from_user_id") or "")
    number = message.get("message_id") or message.get("client_id") or message.get("seq")
    if message.get("message_type") != 1 or message.get("group_id") or not person or not number:
        return None
    kind, text = _said(message.get("item_list") or ())
    return Inbound(
        platform=platform,
        account=account,
        chat_id=person,
        user_id=person,
        message_id=str(number),
        text=text,
        kind=kind,
        sent_at=message["create_time_ms"] / 1000 if message.get("create_time_ms") else None,
        reply_to={"context": message.get("context_token")},
    )


def _said(items: Sequence[Mapping[str, Any]]) -> tuple[Kind, str]:
    """The words of a message; a voice has them with it."""
    texts = [(each.get("text_item") or {}).get("text") for each in items if each.get("type") == 1]
    texts += [(each.get("voice_item") or {}).get("text") for each in items if each.get("type") == 3]
    text = "\n".join(each for each in texts if each)
    return ("text", text) if text else ("unsupported", "")
