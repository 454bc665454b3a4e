"""An application of one's own: sealed callbacks, and messages through the API."""

from __future__ import annotations

from collections import defaultdict, deque
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
    read_settings,
)
from chatgpt2.bots.tencent.api import Api, ApiError
from chatgpt2.bots.tencent.contact import Contact, health_of
from chatgpt2.bots.tencent.envelope import LARGEST_BODY, Envelope, Forged, read_xml
from chatgpt2.bots.tencent.events import inbound_of

# Messages to one member, in so many seconds; WeCom throws away what is more, without a word.
_RATES = ((30, 60.0), (1000, 3600.0))
_LATER = {-1: 3.0, 45009: 60.0, 60020: 300.0}
_NO_RECEIVER = 81013
_ADVICE = {
    40001: "secret is wrong",
    40013: "corp-id is wrong",
    60020: "put this server's address on the application's list of trusted IPs",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The company's id, the application's number and secret, and what its callbacks are sealed with."""

    corp_id: str
    agent_id: str
    secret: str
    token: str
    aes_key: str
    base_url: str = "https://qyapi.weixin.qq.com"


def build(settings: Mapping[str, Any], services: Services) -> Application:
    """See chatgpt2.adapter.Build."""
    return Application(read_settings(Settings, settings), services)


class Application(Adapter):
    """One application of one company."""

    name = "wecom"
    limits = Limits(2048, "utf8")

    def __init__(self, settings: Settings, services: Services) -> None:
        self.account = f"{settings.corp_id}-{settings.agent_id}"
        self._settings, self._services = settings, services
        self._envelope = Envelope(settings.token, settings.aes_key, settings.corp_id)
        self._api = Api(settings.base_url, services, f"{self.account}:token", self._fetch, {_NO_RECEIVER})
        self._sent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RATES[-1][0]))
        self._calls = Contact(services.clock)

    async def start(self, inbox: Inbox) -> None:
        """See chatgpt2.adapter.Adapter."""
        self._inbox = inbox
        try:
            await self._api.token()
        except ApiError as error:
            advice = _ADVICE.get(error.code, "see the application's page")
            raise AdapterError(f"WeCom refuses the application: {advice} ({error})") from None

    async def run(self) -> None:
        """Nothing is polled."""

    def routes(self) -> Sequence[Route]:
        """One address, as WeCom wants it."""
        return Route("GET", "/callback", self._verify), Route("POST", "/callback", self._receive)

    def open_reply(self, inbound: Inbound) -> Reply:
        """See chatgpt2.adapter.Adapter."""
        return _Way(self, inbound.chat_id)

    def health(self) -> Health:
        """See chatgpt2.adapter.Adapter."""
        return health_of(self._calls, self._api.contact)

    async def stop(self) -> None:
        """Nothing is held."""

    async def send(self, member: str, text: str) -> str:
        """Send a message; gives its id. Raises what Reply.send does."""
        now, sent = self._services.clock(), self._sent[member]
        for most, seconds in _RATES:
            if len(sent) >= most and (wait := sent[-most] + seconds - now) > 0:
                raise RetryLater(wait, f"WeCom takes {most} messages in {seconds:g} s for one member")
        body = {"touser": member, "msgtype": "text", "agentid": int(self._settings.agent_id)}
        try:
            answer = await self._api.call("/cgi-bin/message/send", {**body, "text": {"content": text}})
        except ApiError as error:
            raise _meaning(error) from None
        if answer.get("invaliduser"):
            raise Blocked("the member is not, or no longer, in the application's range")
        sent.append(now)
        return str(answer.get("msgid", ""))

    async def _fetch(self, api: Api, force: bool) -> tuple[str, float]:
        query = {"corpid": self._settings.corp_id, "corpsecret": self._settings.secret}
        answer = await api.request("GET", "/cgi-bin/gettoken", query)
        return str(answer["access_token"]), float(answer["expires_in"])

    async def _verify(self, request: Request) -> Response:
        try:
            return Response(body=opened(self._envelope, request, request.query.get("echostr", "")).encode())
        except Forged:
            return Response(403)

    async def _receive(self, request: Request) -> Response:
        if len(request.body) > LARGEST_BODY:
            return Response(413)
        try:
            fields = read_xml(opened(self._envelope, request, read_xml(request.body).get("Encrypt", "")))
            inbound = inbound_of(fields, self.name, self.account)
        except Forged as error:
            self._services.log.warning("%s", self._calls.failed(f"a callback is refused: {error}"))
            return Response(403)
        except ValueError as error:
            self._services.log.warning("%s", self._calls.failed(f"a callback cannot be read: {error}"))
            return Response(400)
        if fields.get("AgentID", self._settings.agent_id) != self._settings.agent_id:
            return Response(403)
        self._calls.worked()
        if inbound is not None:
            await self._inbox.submit(inbound)
        return Response()


class _Way(Reply):
    """Back to one member. WeCom shows nothing before it is whole."""

    def __init__(self, application: Application, member: str) -> None:
        self._application, self._member = application, member

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        """See chatgpt2.adapter.Reply."""
        return await self._application.send(self._member, chunk)


def opened(envelope: Envelope, request: Request, sealed: str) -> str:
    """What WeCom sealed. Raises Forged."""
    given = [request.query.get(each, "") for each in ("msg_signature", "timestamp", "nonce")]
    return envelope.open(sealed, *given)


def _meaning(error: ApiError) -> AdapterError:
    if error.code in _LATER:
        return RetryLater(_LATER[error.code], str(error))
    return Blocked(str(error)) if error.code == _NO_RECEIVER else Rejected(str(error))
