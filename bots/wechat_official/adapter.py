"""The adapter: what WeChat calls, and the two ways back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatgpt2.adapter import (
    Adapter,
    AdapterError,
    Blocked,
    Health,
    Inbound,
    Inbox,
    Limits,
    Rejected,
    Reply,
    Request,
    Response,
    RetryLater,
    Route,
    Services,
    WindowClosed,
    read_settings,
)
from chatgpt2.bots.tencent.api import Api, ApiError
from chatgpt2.bots.tencent.contact import Contact, health_of
from chatgpt2.bots.tencent.envelope import LARGEST_BODY, Envelope, Forged, is_signed, read_xml, write_xml
from chatgpt2.bots.tencent.events import inbound_of
from chatgpt2.bots.wechat_official.passive import LONGEST, Desk

_SPOKEN_TO = 48 * 3600.0  # seconds after a person's message in which customer service may write, 5 messages
_ASK_AGAIN = 24 * 3600.0  # seconds after which a right that was missing is tried again
_SWEEP = 3600.0
_NO_RIGHT = 48001
_LATER = {-1: 3.0, 45009: 3600.0, 45011: 10.0, 40164: 300.0}
_CLOSED, _GONE = {45015, 45047}, {43004, 50002}
_TYPING_TOO_MUCH = {45080, 45081}
_PERSONAL = _CLOSED | _GONE | _TYPING_TOO_MUCH
_ADVICE = {
    40013: "app-id is wrong",
    40125: "app-secret is wrong",
    40164: "put this server's address on the IP whitelist of the account",
}

_PASSIVE = Limits(LONGEST, "utf8")
_CUSTOMER_SERVICE = Limits(LONGEST, "utf8", sends_per_inbound=5, reply_window=_SPOKEN_TO - 60)


@dataclass(frozen=True, slots=True)
class Settings:
    """An Official Account.

    token             signs the callbacks; you made it up on the account's page
    aes_key           EncodingAESKey; with it plain messages are refused
    app_secret        for customer-service messages; without it every answer is a passive one
    customer_service  false: answer passively though there is an app_secret
    patience          seconds that WeChat waits for the answer to a callback
    """

    token: str
    app_id: str
    aes_key: str | None = None
    app_secret: str | None = None
    customer_service: bool = True
    patience: float = 5.0
    base_url: str = "https://api.weixin.qq.com"


def build(settings: Mapping[str, Any], services: Services) -> WeChatOfficial:
    """See chatgpt2.adapter.Build."""
    return WeChatOfficial(read_settings(Settings, settings), services)


class WeChatOfficial(Adapter):
    """One Official Account."""

    name = "wechat-official"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.account, self.limits = settings.app_id, _PASSIVE
        self.api: Api | None = None
        self.desk = Desk(self.account, services, settings.patience)
        self._settings, self._services = settings, services
        self._envelope = (
            Envelope(settings.token, settings.aes_key, settings.app_id) if settings.aes_key else None
        )
        self._refusal = f"{self.account}:no-customer-service"
        self._calls = Contact(services.clock)
        if settings.app_secret and settings.customer_service:
            self.api = Api(settings.base_url, services, f"{self.account}:token", self._fetch, _PERSONAL)

    async def start(self, inbox: Inbox) -> None:
        """See chatgpt2.adapter.Adapter."""
        self._inbox = inbox
        if self.api is None:
            return
        try:
            await self.api.token()
        except ApiError as error:
            advice = _ADVICE.get(error.code, "see the account's page")
            raise AdapterError(f"WeChat refuses the account: {advice} ({error})") from None
        refused_at = await self._services.state.get(self._refusal)
        if refused_at is None or refused_at < self._services.clock() - _ASK_AGAIN:
            self.limits = _CUSTOMER_SERVICE

    async def run(self) -> None:
        """Nothing is polled; what nobody fetched is forgotten from time to time."""
        while True:
            await self.desk.sweep()
            await asyncio.sleep(_SWEEP)

    def routes(self) -> Sequence[Route]:
        """One address, as WeChat wants it."""
        return Route("GET", "/callback", self._verify), Route("POST", "/callback", self._receive)

    def open_reply(self, inbound: Inbound) -> Reply:
        """See chatgpt2.adapter.Adapter."""
        return _Way(self, inbound)

    def health(self) -> Health:
        """See chatgpt2.adapter.Adapter."""
        return health_of(self._calls, *([self.api.contact] if self.api else []))

    async def stop(self) -> None:
        """Nothing is held."""

    @property
    def serves_customers(self) -> bool:
        """Whether the account may write customer-service messages, as far as is known."""
        return self.limits is _CUSTOMER_SERVICE

    async def lose_right(self) -> None:
        """WeChat says that the account may not write customer-service messages."""
        self.limits = _PASSIVE
        await self._services.state.set(self._refusal, self._services.clock())
        self._services.log.warning(
            "the account %s may not send customer-service messages: answers are passive", self.account
        )

    async def _fetch(self, api: Api, force: bool) -> tuple[str, float]:
        settings = self._settings
        body = {"grant_type": "client_credential", "appid": settings.app_id, "secret": settings.app_secret}
        answer = await api.request("POST", "/cgi-bin/stable_token", {}, {**body, "force_refresh": force})
        return str(answer["access_token"]), float(answer["expires_in"])

    async def _verify(self, request: Request) -> Response:
        if not self._from_wechat(request):
            return Response(403)
        return Response(body=request.query.get("echostr", "").encode())

    async def _receive(self, request: Request) -> Response:
        if len(request.body) > LARGEST_BODY:
            return Response(413)
        if not self._from_wechat(request):
            self._calls.failed("a callback is refused: the signature is wrong")
            return Response(403)
        try:
            fields = self._opened(request)
            inbound = inbound_of(fields, self.name, self.account)
        except Forged as error:
            self._services.log.warning("%s", self._calls.failed(f"a callback is refused: {error}"))
            return Response(403)
        except ValueError as error:
            self._services.log.warning("%s", self._calls.failed(f"a callback cannot be read: {error}"))
            return Response(400)
        self._calls.worked()
        answer = "" if inbound is None else await self._answer(inbound)
        return Response(504) if answer is None else self._written(answer, fields, request)

    async def _answer(self, inbound: Inbound) -> str | None:
        if not self.serves_customers:
            return await self.desk.serve(inbound, self._inbox)
        await self._inbox.submit(inbound)
        return ""

    def _from_wechat(self, request: Request) -> bool:
        given, timestamp, nonce = (
            request.query.get(each, "") for each in ("signature", "timestamp", "nonce")
        )
        return is_signed(given, self._settings.token, timestamp, nonce)

    def _opened(self, request: Request) -> dict[str, str]:
        """The fields of a message, out of its envelope. The plain ones of compatible mode are nobody's word."""
        fields, query = read_xml(request.body), request.query
        if self._envelope is None:
            if "Encrypt" in fields and "MsgType" not in fields:
                raise Forged("it is encrypted, and the setting aes-key is missing")
            return fields
        if query.get("encrypt_type") != "aes":
            raise Forged("it is not encrypted, and there is an aes-key")
        sealed = [query.get(each, "") for each in ("msg_signature", "timestamp", "nonce")]
        return read_xml(self._envelope.open(fields.get("Encrypt", ""), *sealed))

    def _written(self, text: str, fields: Mapping[str, str], request: Request) -> Response:
        """The answer to a callback: a text message, or the word that means "I have it"."""
        if not text:
            return Response(body=b"success")
        now = int(self._services.clock())
        message = write_xml(
            {
                "ToUserName": fields["FromUserName"],
                "FromUserName": fields["ToUserName"],
                "CreateTime": now,
                "MsgType": "text",
                "Content": text,
            }
        )
        if self._envelope is not None:
            nonce = request.query.get("nonce", "")
            sealed, signed = self._envelope.seal(message, str(now), nonce)
            message = write_xml({"Encrypt": sealed, "MsgSignature": signed, "TimeStamp": now, "Nonce": nonce})
        return Response(body=message.encode(), content_type="application/xml; charset=utf-8")


class _Way(Reply):
    """Back to one person: by the customer-service API, or to the desk where the next callback finds it."""

    def __init__(self, adapter: WeChatOfficial, inbound: Inbound) -> None:
        self._adapter, self._inbound = adapter, inbound

    async def typing(self, on: bool) -> None:
        """See chatgpt2.adapter.Reply."""
        if self._adapter.api is None or not self._adapter.serves_customers:
            return
        body = {"touser": self._inbound.chat_id, "command": "Typing" if on else "CancelTyping"}
        try:
            await self._adapter.api.call("/cgi-bin/message/custom/typing", body)
        except ApiError as error:
            if error.code not in _TYPING_TOO_MUCH:
                raise

    async def preview(self, text_so_far: str) -> None:
        """WeChat shows nothing before it is whole."""

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        """See chatgpt2.adapter.Reply. WeChat gives no ids of what is sent."""
        if self._adapter.serves_customers and await self._wrote(chunk):
            return ""
        await self._adapter.desk.put(self._inbound, chunk, index, final)
        return ""

    async def close(self) -> None:
        """See chatgpt2.adapter.Reply."""
        if not self._adapter.serves_customers:
            await self._adapter.desk.close(self._inbound)

    async def _wrote(self, chunk: str) -> bool:
        """Whether customer service did it."""
        assert self._adapter.api is not None
        body = {"touser": self._inbound.chat_id, "msgtype": "text", "text": {"content": chunk}}
        try:
            await self._adapter.api.call("/cgi-bin/message/custom/send", body)
        except ApiError as error:
            if error.code != _NO_RIGHT:
                raise _meaning(error) from None
            await self._adapter.lose_right()
            return False
        return True


def _meaning(error: ApiError) -> AdapterError:
    if error.code in _LATER:
        return RetryLater(_LATER[error.code], str(error))
    if error.code in _CLOSED:
        return WindowClosed(str(error))
    return Blocked(str(error)) if error.code in _GONE else Rejected(str(error))
