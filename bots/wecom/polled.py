"""The smart bot by webhook: WeCom asks every second how far the answer has grown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from chatgpt2.adapter import (
    Adapter,
    Health,
    Inbound,
    Inbox,
    Limits,
    Reply,
    Request,
    Response,
    RetryLater,
    Route,
    Services,
    WindowClosed,
    read_settings,
)
from chatgpt2.bots.tencent.contact import Contact, health_of
from chatgpt2.bots.tencent.envelope import LARGEST_BODY, Envelope, Forged
from chatgpt2.bots.wecom.application import opened
from chatgpt2.bots.wecom.events import (
    ENDED,
    LASTS,
    LONGEST,
    chat_part,
    feedback_mark,
    inbound_of,
    shortened,
    stream_id,
)

_NOTED = 0.7  # seconds between notes of a growing text: WeCom asks once a second
_LOOK = 0.2  # seconds between looks whether WeCom has fetched the end
_FETCHED = 10.0  # seconds for which it is waited for
_URL_LASTS = 3600.0
_ELSEWHERE = "（答复见下一条消息）"
_SWEEP = 3600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """A smart bot with a callback address.

    bot_id    its aibotid, when the address may serve no other
    patience  seconds to wait for WeCom to fetch the end of an answer, before it is sent by the message's response_url
    """

    token: str
    aes_key: str
    bot_id: str
    patience: float = _FETCHED


def build(settings: Mapping[str, Any], services: Services) -> PolledBot:
    """See chatgpt2.adapter.Build."""
    return PolledBot(read_settings(Settings, settings), services)


class PolledBot(Adapter):
    """One smart bot. What it is saying is in the state, so any process can be asked for it."""

    name = "wecom-bot-webhook"
    limits = Limits(
        LONGEST,
        "utf8",
        sends_per_inbound=1,
        reply_window=_URL_LASTS - 60,
        preview="pull",
        preview_interval=_NOTED,
    )

    def __init__(self, settings: Settings, services: Services) -> None:
        self.account, self.patience, self.services = settings.bot_id, settings.patience, services
        self._envelope = Envelope(settings.token, settings.aes_key, "")
        self._calls, self.way_out = Contact(services.clock), Contact(services.clock)

    async def start(self, inbox: Inbox) -> None:
        """See chatgpt2.adapter.Adapter."""
        self._inbox = inbox

    async def run(self) -> None:
        """Nothing is polled; old streams are forgotten from time to time."""
        while True:
            for key, stream in (await self.streams("")).items():
                if stream["at"] < self.services.clock() - _URL_LASTS:
                    await self.services.state.set(key, None)
            await asyncio.sleep(_SWEEP)

    def routes(self) -> Sequence[Route]:
        """One address, as WeCom wants it."""
        return Route("GET", "/callback", self._verify), Route("POST", "/callback", self._receive)

    def open_reply(self, inbound: Inbound) -> Reply:
        """See chatgpt2.adapter.Adapter."""
        return _Stream(self, inbound)

    def health(self) -> Health:
        """See chatgpt2.adapter.Adapter."""
        return health_of(self._calls, self.way_out)

    async def stop(self) -> None:
        """Nothing is held."""

    async def stream(self, name: str) -> dict[str, Any] | None:
        """What is known of a stream: text, final, fetched, at."""
        found: dict[str, Any] | None = await self.services.state.get(self._key(name))
        return found

    async def streams(self, beginning: str) -> dict[str, dict[str, Any]]:
        """All whose names begin so, by their keys."""
        return dict(await self.services.state.all(self._key(beginning)))

    async def note(self, name: str, inbound: Inbound | None = None, **changed: Any) -> None:
        """Change what is known of a stream, which answers this."""
        blank = {"text": "", "final": False, "fetched": False, "at": self.services.clock()}
        known = await self.stream(name) or blank
        await self.services.state.set(self._key(name), {**known, **changed}, of=inbound)

    def _key(self, name: str) -> str:
        return f"{self.account}:stream:{name}"

    async def _verify(self, request: Request) -> Response:
        try:
            return Response(body=opened(self._envelope, request, request.query.get("echostr", "")).encode())
        except Forged:
            return Response(403)

    async def _receive(self, request: Request) -> Response:
        if len(request.body) > LARGEST_BODY:
            return Response(413)
        try:
            sealed = json.loads(request.body)
            body = json.loads(opened(self._envelope, request, str(sealed["encrypt"])))
            polls = body.get("msgtype") == "stream"
            answer = await (self._asked(str(body["stream"]["id"])) if polls else self._told(body))
        except Forged as error:
            self.services.log.warning("%s", self._calls.failed(f"a callback is refused: {error}"))
            return Response(403)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"a callback cannot be read: {type(error).__name__}"
            self.services.log.warning("%s", self._calls.failed(why))
            return Response(400)
        self._calls.worked()
        return (
            Response() if answer is None else self._sealed({"msgtype": "stream", "stream": answer}, request)
        )

    async def _told(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """A message or an event; the stream that will answer it."""
        if body.get("aibotid") != self.account:
            raise Forged("it is for another bot")
        at = self.services.clock()
        way = {"at": at, "url": body.get("response_url", "")}
        inbound = inbound_of(body, self.name, self.account, way)
        if inbound is None:
            return None
        if inbound.kind == "feedback":
            await self._inbox.submit(inbound)
            return None
        name = stream_id(inbound.chat_id, inbound.message_id)
        if await self.stream(name) is None:
            await self.note(name, inbound)
        await self._inbox.submit(inbound)
        stream = {"id": name, "finish": False, "content": ""}
        mark = {"id": feedback_mark(inbound.message_id)}
        return {**stream, "feedback": mark} if self.services.feedback else stream

    async def _asked(self, name: str) -> dict[str, Any] | None:
        """How far the stream has grown."""
        stream = await self.stream(name) or {"text": ENDED, "final": True, "fetched": True}
        if stream["final"] and not stream["fetched"]:
            await self.note(name, fetched=True)
        return {"id": name, "finish": stream["final"], "content": stream["text"]}

    def _sealed(self, answer: Mapping[str, Any], request: Request) -> Response:
        now, nonce = int(self.services.clock()), request.query.get("nonce", "")
        text = json.dumps(answer, ensure_ascii=False)
        sealed, signed = self._envelope.seal(text, str(now), nonce)
        body = {"encrypt": sealed, "msgsignature": signed, "timestamp": now, "nonce": nonce}
        return Response(body=json.dumps(body).encode(), content_type="application/json")


class _Stream(Reply):
    """The stream that answers one message."""

    def __init__(self, bot: PolledBot, inbound: Inbound) -> None:
        self._bot, self._inbound, self._services = bot, inbound, bot.services
        self._name = stream_id(inbound.chat_id, inbound.message_id)
        self._at, self._noted = float(inbound.reply_to["at"]), float("-inf")

    async def preview(self, text_so_far: str) -> None:
        """See chatgpt2.adapter.Reply."""
        now = asyncio.get_running_loop().time()
        if now - self._noted >= _NOTED:
            self._noted = now
            await self._bot.note(self._name, self._inbound, text=shortened(text_so_far))

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        """See chatgpt2.adapter.Reply. WeCom fetches the text, or gets it by the message's own address."""
        if self._services.clock() - self._at < LASTS:
            known = await self._bot.stream(self._name)
            if known is None or not known["fetched"] or known["text"] != chunk:
                await self._bot.note(self._name, self._inbound, text=chunk, final=True, fetched=False)
            if await self._fetched():
                return feedback_mark(self._inbound.message_id)
        await self._bot.note(self._name, self._inbound, text=_ELSEWHERE, final=True, fetched=True)
        await self._respond(chunk)
        return ""

    async def close(self) -> None:
        """End the stream, and those of earlier messages that were answered along with this one."""
        for key, stream in (await self._bot.streams(chat_part(self._inbound.chat_id))).items():
            if not stream["final"] and stream["at"] <= self._at:
                await self._services.state.set(key, {**stream, "text": stream["text"] + ENDED, "final": True})

    async def _fetched(self) -> bool:
        ends = asyncio.get_running_loop().time() + self._bot.patience
        while asyncio.get_running_loop().time() < ends:
            stream = await self._bot.stream(self._name)
            if stream is not None and stream["fetched"]:
                return True
            await asyncio.sleep(_LOOK)
        return False

    async def _respond(self, text: str) -> None:
        """The one message that the response_url of a message takes, within an hour."""
        url = self._inbound.reply_to["url"]
        if not url:
            raise WindowClosed("WeCom does not ask for this answer any more")
        body = {"msgtype": "markdown", "markdown": {"content": text}}
        try:
            answer = await self._services.http.post(url, json=body, timeout=10)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise RetryLater(5, self._bot.way_out.failed(f"WeCom cannot be reached: {error}")) from None
        except httpx.HTTPError as error:
            self._bot.way_out.failed(error)
            raise
        self._bot.way_out.worked()
        if answer.status_code == 429:
            raise RetryLater(1)
        if answer.status_code != 200 or answer.json().get("errcode"):
            raise WindowClosed("WeCom does not take this answer any more")
