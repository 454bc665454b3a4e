"""What the smart bot is told, as what a person did."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

from chatgpt2.adapter import Inbound, Kind

LONGEST = 20480  # bytes of a stream's text
LASTS = 350.0  # seconds from the message for which its stream can be written; WeCom says six minutes
ENDED = "…"  # what a stream ends with that is broken off

_OPINIONS: Mapping[Any, Literal["up", "down", ""]] = {1: "up", 2: "down", 3: ""}
_MENTION = re.compile(r"^@\S+\s*")


def inbound_of(
    body: Mapping[str, Any], platform: str, account: str, reply_to: Mapping[str, Any]
) -> Inbound | None:
    """What is to be answered, or noted; None: nothing. Raises ValueError for what is no message."""
    try:
        person, message_id, group = body["from"]["userid"], body["msgid"], body.get("chattype") == "group"
        said = _said(body, group)
        chat = body["chatid"] if group else person
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a message of a smart bot: {error!r}") from None
    if said is None:
        return None
    kind, text, about = said
    return Inbound(
        platform=platform,
        account=account,
        chat_id=str(chat),
        user_id=str(person),
        message_id=str(message_id),
        text=text,
        kind=kind,
        is_group=group,
        about=about,
        sent_at=float(body["create_time"]) if body.get("create_time") else None,
        reply_to=reply_to,
    )


def stream_id(chat: str, message_id: str) -> str:
    """The id of the stream that answers a message: the chat's part comes first."""
    return f"{chat_part(chat)}-{_digest(message_id)[:24]}"


def chat_part(chat: str) -> str:
    """What the ids of all streams of a chat begin with."""
    return _digest(chat)[:16]


def feedback_mark(message_id: str) -> str:
    """What a person's opinion of the answer to this message comes back with. It goes with the first frame, before
    the gateway has an id of its own for the answer; people report that WeCom shows no buttons without "trace_"."""
    return f"trace_{_digest(message_id)[:24]}"


def shortened(text: str) -> str:
    """As much of a text as a stream can show, with room for `ENDED`."""
    return text.encode()[: LONGEST - len(ENDED.encode())].decode(errors="ignore")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _said(body: Mapping[str, Any], group: bool) -> tuple[Kind, str, str] | None:
    match body["msgtype"]:
        case "text":
            return "text", _clean(body["text"]["content"], group), ""
        case "voice":
            return "text", body["voice"]["content"], ""
        case "mixed":
            items = body["mixed"]["msg_item"]
            text = "\n".join(each["text"]["content"] for each in items if each["msgtype"] == "text")
            return ("text", _clean(text, group), "") if text.strip() else ("unsupported", "", "")
        case "event":
            return _opinion(body["event"])
    return "unsupported", "", ""


def _opinion(event: Mapping[str, Any]) -> tuple[Kind, str, str] | None:
    if event["eventtype"] != "feedback_event":
        return None
    opinion = event["feedback_event"]
    return "feedback", _OPINIONS.get(opinion["type"], ""), str(opinion["id"])


def _clean(text: str, group: bool) -> str:
    """Without the "@bot" that a group message begins with."""
    return _MENTION.sub("", text.strip()) if group else text
