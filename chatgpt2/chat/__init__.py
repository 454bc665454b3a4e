"""The conversation that every front end has with the model."""

from __future__ import annotations

from chatgpt2.chat.blocked import BlockedWords
from chatgpt2.chat.service import ChatService, Stored
from chatgpt2.chat.settings import SETTINGS
from chatgpt2.chat.words import BUSY, DECLINED, SPEECHLESS

__all__ = ["BUSY", "DECLINED", "SETTINGS", "SPEECHLESS", "BlockedWords", "ChatService", "Stored"]
