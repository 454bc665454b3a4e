"""What passes between a platform's adapter and the gateway: plain values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "feedback", "stop", "unsupported"]
Unit = Literal["chars", "utf16", "utf8"]
Preview = Literal["none", "push", "pull"]

_BYTES: Mapping[Unit, tuple[str, int]] = {
    "chars": ("utf-32-le", 4),
    "utf16": ("utf-16-le", 2),
    "utf8": ("utf-8", 1),
}


def length(text: str, unit: Unit) -> int:
    """How long a platform finds `text`: in code points, UTF-16 code units or UTF-8 bytes."""
    encoding, size = _BYTES[unit]
    return len(text.encode(encoding, "surrogatepass")) // size


@dataclass(frozen=True, slots=True)
class Limits:
    """What a platform allows.

    max_length         of one sent message, in `unit`
    sends_per_inbound  sends that one message of a user allows; None: any number
    reply_window       seconds after `sent_at` in which a reply is possible; None: for ever
    preview            "none"; "push": `Reply.preview` shows the growing text, and is called no more often than
                       every `preview_interval` seconds; "pull": the platform asks for it, and `preview` only
                       notes it, so it is called with every piece
    shows_per_second   "is typing" and pushed previews of all conversations together; when more of them are being
                       answered, each is shown less often
    receiver_answers   of several processes only the one in which `run` runs can answer, as where answers go back
                       over the connection that it holds; others leave the account's conversations alone
    """

    max_length: int
    unit: Unit = "chars"
    sends_per_inbound: int | None = None
    reply_window: float | None = None
    preview: Preview = "none"
    preview_interval: float = 1.5
    shows_per_second: float = 10.0
    receiver_answers: bool = False

    def __post_init__(self) -> None:
        if self.max_length < 16 or (self.sends_per_inbound is not None and self.sends_per_inbound < 1):
            raise ValueError("max_length must be 16 or more, and sends_per_inbound 1 or more")
        if not self.shows_per_second > 0:
            raise ValueError("shows_per_second must be more than 0")


@dataclass(frozen=True, slots=True)
class Inbound:
    """Something that a person did on a platform.

    platform    the adapter's `name`; with `account` and `message_id` it makes an event what it is: the same three
                again are the same event, however often it is delivered
    account     which of the platform's bots it came to: the adapter's `account`
    chat_id     the conversation; with `thread_id` (a forum topic, or "") it makes the session
    user_id     who did it
    message_id  the platform's, unique within the account; where the platform's is unique within a chat only,
                put the chat before it ("42:7")
    text        kind "text": what was said, without the bot's name before it and without "@bot" in a command;
                "feedback": "up", "down" or "" (taken back); else ""
    kind        "text"; "feedback" on the reply `about`; "stop": whatever is being said in this session is to end;
                "unsupported": a picture, a voice … — the person is told so, once
    is_group    several people are in the chat
    addressed   in a group: the bot is meant, by its name or by a command; passed over in private
    to_bot      in a group: this answers something that the bot said
    about       of feedback: the `feedback_id` that `Reply.send` got, or the platform's id that it returned
    sent_at     seconds since 1970 by the platform's clock, where it tells
    reply_to    what `open_reply` will need, as JSON: it is stored, and may be used by another process days later
    """

    platform: str
    account: str
    chat_id: str
    user_id: str
    message_id: str
    text: str = ""
    kind: Kind = "text"
    is_group: bool = False
    addressed: bool = True
    to_bot: bool = False
    thread_id: str = ""
    about: str = ""
    sent_at: float | None = None
    reply_to: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that people may use: `/name`, or `/` and one of its Chinese names. `name` is of a–z."""

    name: str
    aliases: tuple[str, ...]
    argument: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Health:
    """How an adapter is. `last_contact`: when the platform last answered or called (the services' clock);
    `silence`: seconds without contact after which something must be wrong, None: silence is no sign (webhooks)."""

    last_contact: float | None = None
    last_error: str | None = None
    silence: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a webhook. `query` has the first value of each name, `headers` lower-case names."""

    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What a webhook answers."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A webhook: `path` ("/callback") is served under /bots/NAME; NAME is the bot's in the settings."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
