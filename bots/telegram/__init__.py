"""Telegram as a chat platform, over python-telegram-bot: long polling or webhooks."""

from __future__ import annotations

from chatgpt2.bots.telegram.adapter import Settings, Telegram, build

__all__ = ["Settings", "Telegram", "build"]
