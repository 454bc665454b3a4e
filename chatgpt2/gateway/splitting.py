"""Text in pieces that a platform takes: cut at paragraphs, then sentences, then between graphemes."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from chatgpt2.adapter import Limits, length

CUT_SHORT = "……（太长了，只能说到这里）"

_PARAGRAPHS = regex.compile(r".+?(?:\n+|\Z)", regex.DOTALL)
# A sentence keeps its closing quotes, and the space behind it.
_SENTENCES = regex.compile(r".+?(?:[。！？!?…；;]+[”’」』）)\"']*\s*|\n|\Z)", regex.DOTALL)
_GRAPHEMES = regex.compile(r"\X")
_POINTS = regex.compile(r".", regex.DOTALL)  # of a grapheme that is longer than a message
_WAYS = (_PARAGRAPHS, _SENTENCES, _GRAPHEMES, _POINTS)


def split(text: str, limits: Limits) -> list[str]:
    """`text` in order, each piece within the limits; what is too much for the number of sends is cut, and said."""
    pieces = _pieces(text, limits)
    most = limits.sends_per_inbound
    if most is None or len(pieces) <= most:
        return pieces
    room = max(1, limits.max_length - length(CUT_SHORT, limits.unit))
    return [*pieces[: most - 1], _packed(pieces[most - 1], room, limits, _WAYS)[0].strip() + CUT_SHORT]


def fit(text: str, limits: Limits) -> str:
    """As much of the beginning as one message holds."""
    return text if length(text, limits.unit) <= limits.max_length else _pieces(text, limits)[0]


def _pieces(text: str, limits: Limits) -> list[str]:
    pieces = (piece.strip() for piece in _packed(text.strip(), limits.max_length, limits, _WAYS))
    return [piece for piece in pieces if piece]


def _packed(text: str, room: int, limits: Limits, ways: Sequence[regex.Pattern[str]]) -> list[str]:
    """Parts put together as long as they fit; a part that is too long is taken apart in the next way."""

    def fits(part: str) -> bool:
        return length(part.strip(), limits.unit) <= room

    packed, so_far = [], ""
    for part in [text] if fits(text) else ways[0].findall(text):
        if not fits(so_far + part):
            packed.append(so_far)
            so_far = ""
        if fits(so_far + part) or len(ways) == 1:
            so_far += part
        else:
            *full, so_far = _packed(part, room, limits, ways[1:])
            packed += full
    return [piece for piece in (*packed, so_far) if piece]
