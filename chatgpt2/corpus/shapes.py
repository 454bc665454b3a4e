"""One JSON value → one Record, whichever of the common shapes it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatgpt2.corpus.names import DIALOGUE_KEYS, ROLE_KEYS, ROLES, TEXT_KEYS, context_of, pair_of
from chatgpt2.corpus.normalise import clean
from chatgpt2.corpus.record import MAX_TURNS, Problem, Record

_EXPECTED = (
    "expected a list of texts or an object with messages, conversations, conversation, dialog, "
    "instruction and output, or a question and an answer"
)

Spoken = list[tuple[str, str]]  # (role, text)


class _Misshapen(ValueError):
    """A value is no dialogue; the message says what was expected."""


def record_of(value: object, line: int) -> Record | Problem:
    """The dialogue that a JSON value of the file tells."""
    try:
        if isinstance(value, list) and set(map(type, value)) <= {str}:
            record = Record(line, list(map(clean, value)))
        else:
            spoken = _list(value) if isinstance(value, list) else _object(value)
            record = Record(line, [text for _, text in spoken], [role for role, _ in spoken])
    except _Misshapen as misfit:
        return Problem(line, str(misfit))
    if len(record.texts) > MAX_TURNS:
        return Problem(line, f"a dialogue of more than {MAX_TURNS:,} turns; expected a list of dialogues")
    return record


def is_turn(value: object) -> bool:
    """The value is part of a dialogue, not a dialogue: a text, or a text with its speaker."""
    if isinstance(value, str):
        return True
    return isinstance(value, dict) and _first(value, ROLE_KEYS) is not None and _dialogue(value) is None


def is_record(value: object) -> bool:
    """The value is an object with keys of a dialogue."""
    return isinstance(value, dict) and (_dialogue(value) is not None or pair_of(list(value)) is not None)


def _object(value: object) -> Spoken:
    if not isinstance(value, dict):
        raise _Misshapen(f"{_EXPECTED}; found {_kind(value)}")
    before: Spoken = []
    if isinstance(value.get("system"), str):
        before.append(("system", clean(value["system"])))
    key = _dialogue(value)
    if key is not None:
        return before + _list(value[key])
    if pair_of(list(value)) is None:
        found = ", ".join(map(str, list(value)[:6])) or "an empty object"
        raise _Misshapen(f"{_EXPECTED}; found {found}")
    return before + _list(value.get("history") or []) + _pair(value)


def _list(items: list[Any]) -> Spoken:
    spoken: Spoken = []
    for number, item in enumerate(items, 1):
        try:
            spoken += _round(item, spoken)
        except _Misshapen as misfit:
            raise _Misshapen(f"turn {number}: {misfit}") from None
    return spoken


def _round(item: object, before: Spoken) -> Spoken:
    """What one element of a list of turns says: a turn, or a question and its answer."""
    if isinstance(item, str):
        return [(_other(before), clean(item))]
    if isinstance(item, list) and len(item) == 2:
        return [("user", _text(item[0])), ("bot", _text(item[1]))]
    if not isinstance(item, dict):
        raise _Misshapen(f"expected a text or an object with a role and a text, found {_kind(item)}")
    role_key, text_key = _first(item, ROLE_KEYS), _first(item, TEXT_KEYS)
    if role_key is not None and (text_key is not None or "tool_calls" in item or "function_call" in item):
        return [(_role(item[role_key]), _text(item[text_key] if text_key else None))]
    if pair_of(list(item)) is not None:
        return _pair(item)
    if text_key is not None:
        return [(_other(before), _text(item[text_key]))]
    raise _Misshapen(f"expected a role and a text, found the keys {', '.join(map(str, item))}")


def _pair(value: Mapping[str, Any]) -> Spoken:
    """A question and its answer, alpaca's input after the instruction."""
    keys = list(value)
    question, answer = pair_of(keys) or ("", "")
    context = context_of(keys, question)
    asked = _side(value[question], "user")
    if context is not None and (extra := _text(value[context])):
        asked = [*asked[:-1], ("user", f"{asked[-1][1]}\n{extra}".strip())] if asked else [("user", extra)]
    return asked + _side(value[answer], "bot")


def _side(value: object, role: str) -> Spoken:
    """The text of a question or an answer, or the messages that some files keep there."""
    if isinstance(value, list) and value and all(is_turn(item) and isinstance(item, dict) for item in value):
        return _list(value)
    return [(role, _text(value))]


def _role(value: object) -> str:
    role = ROLES.get(value) or ROLES.get(value.strip().lower()) if isinstance(value, str) else None
    if role is None:
        raise _Misshapen(f"expected the role user, assistant, system or tool, found {value!r}")
    return role


def _text(content: object) -> str:
    """The words of a content: a string, or the text parts of a list of parts; pictures say nothing."""
    if isinstance(content, str):
        return clean(content)
    if content is None:
        return ""
    if isinstance(content, dict):
        return _part(content)
    if isinstance(content, list):
        return "\n".join(filter(None, (_text(part) for part in content)))
    raise _Misshapen(f"expected a text, found {_kind(content)}")


def _part(part: Mapping[str, Any]) -> str:
    if part.get("type", "text") not in ("text", "input_text", "output_text"):
        return ""
    key = _first(part, ("text", "value", "content"))
    if key is None:
        raise _Misshapen(f"expected a part with a text, found the keys {', '.join(map(str, part))}")
    return _text(part[key])


def _other(before: Spoken) -> str:
    return "bot" if before and before[-1][0] == "user" else "user"


def _first(value: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:  # not next() of a generator: this runs twice for every turn
        if key in value:
            return key
    return None


def _dialogue(value: Mapping[str, Any]) -> str | None:
    return next((key for key in DIALOGUE_KEYS if isinstance(value.get(key), list)), None)


def _kind(value: object) -> str:
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), "nothing")
