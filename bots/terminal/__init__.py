"""The terminal as a chat platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chatgpt2.bots.terminal.screen import Answer, Leave, Note, Terminal, answer_lines, last, no_echo

if TYPE_CHECKING:
    from chatgpt2.adapter import Adapter, Services

__all__ = ["Answer", "Leave", "Note", "Terminal", "answer_lines", "build", "last", "no_echo"]


def build(settings: Mapping[str, Any], services: Services) -> Adapter:
    """See chatgpt2.adapter.Build."""
    # Imported late: `chatgpt2 chat` greets before it loads what answers.
    from chatgpt2.bots.terminal.adapter import Settings, TerminalBot, read_settings

    return TerminalBot(read_settings(Settings, settings))
