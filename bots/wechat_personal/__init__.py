"""A personal WeChat account's bot, over Tencent's own iLink protocol (微信 ClawBot)."""

from __future__ import annotations

from chatgpt2.bots.wechat_personal.adapter import Settings, WeChatPersonal, build

__all__ = ["Settings", "WeChatPersonal", "build"]
