"""From the platforms' inbox to ChatService and back out: order, limits, retries, and the bots' lives."""

from __future__ import annotations

from chatgpt2.gateway.gateway import Gateway
from chatgpt2.gateway.manners import Manners
from chatgpt2.gateway.report import BotReport, Tally
from chatgpt2.gateway.rules import Rules, split_settings
from chatgpt2.gateway.supervising import Bot, make_bot

__all__ = ["Bot", "BotReport", "Gateway", "Manners", "Rules", "Tally", "make_bot", "split_settings"]
