"""A WeChat Official Account (公众号, 服务号): callbacks, answered in place or by customer-service messages."""

from __future__ import annotations

from chatgpt2.bots.wechat_official.adapter import Settings, WeChatOfficial, build

__all__ = ["Settings", "WeChatOfficial", "build"]
