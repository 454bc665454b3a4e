"""WeCom (企业微信): an application (自建应用), and the smart bot (智能机器人) by long connection or by webhook."""

from __future__ import annotations

from chatgpt2.bots.wecom.application import Application
from chatgpt2.bots.wecom.application import build as build_application
from chatgpt2.bots.wecom.connected import ConnectedBot
from chatgpt2.bots.wecom.connected import build as build_connected_bot
from chatgpt2.bots.wecom.polled import PolledBot
from chatgpt2.bots.wecom.polled import build as build_polled_bot

__all__ = [
    "Application",
    "ConnectedBot",
    "PolledBot",
    "build_application",
    "build_connected_bot",
    "build_polled_bot",
]
