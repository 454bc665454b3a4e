"""What the XML callbacks of an Official Account or a WeCom application tell of, as what a person did."""

from __future__ import annotations

from collections.abc import Mapping

from chatgpt2.adapter import Inbound, Kind

_SAID = {"subscribe": "/start"}  # whoever follows is greeted


def inbound_of(fields: Mapping[str, str], platform: str, account: str) -> Inbound | None:
    """What is to be answered; None when nothing is. Raises ValueError for what is not a message."""
    person, at, kind = (fields.get(each, "") for each in ("FromUserName", "CreateTime", "MsgType"))
    if not person or not at.isdecimal() or not kind or not fields.get("ToUserName"):
        raise ValueError("FromUserName, ToUserName, CreateTime or MsgType is missing")
    said = _said(fields)
    if said is None:
        return None
    message_id = fields.get("MsgId") or f"{person}-{at}-{fields.get('Event', kind)}"
    return Inbound(
        platform=platform,
        account=account,
        chat_id=person,
        user_id=person,
        message_id=message_id,
        text=said[1],
        kind=said[0],
        sent_at=float(at),
        reply_to={"at": float(at)},
    )


def _said(fields: Mapping[str, str]) -> tuple[Kind, str] | None:
    """Kind and text. A voice message has its words with it where speech recognition is on; the key of a menu's entry
    counts as if it had been written, so that a menu can hold "/help"."""
    match fields["MsgType"], fields.get("Event", "").lower():
        case "event", "click":
            return "text", fields.get("EventKey", "")
        case "event", event:
            return ("text", _SAID[event]) if event in _SAID else None
        case "text", _:
            return "text", fields.get("Content", "")
        case "voice", _ if fields.get("Recognition"):
            return "text", fields["Recognition"]
    return "unsupported", ""
