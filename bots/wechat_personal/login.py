"""Logging in: a QR code is shown, and its owner scans it with WeChat."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import httpx

from chatgpt2.adapter import AdapterError, Console
from chatgpt2.bots.wechat_personal.ilink import Ilink

_LONG_POLL = 35.0  # seconds
_BETWEEN = 1.0  # seconds between polls
_CODES = 3  # QR codes, after which one gives up
_LONGEST = 480.0  # seconds for all of it


async def log_in(
    http: httpx.AsyncClient, base_url: str, console: Console, known: str | None
) -> dict[str, Any] | None:
    """What iLink gives a new bot (token, bot, owner, base_url), or None when WeChat is bound to the `known` token
    already. Raises AdapterError when nobody scanned, and what Ilink raises."""
    try:
        async with asyncio.timeout(_LONGEST):
            return await _Login(http, base_url, console, known).run()
    except TimeoutError:
        raise AdapterError("Nobody scanned the QR code in time: log in again.") from None


class _Login:
    """One attempt, over several QR codes."""

    def __init__(self, http: httpx.AsyncClient, base_url: str, console: Console, known: str | None) -> None:
        self._http, self._home, self._console = http, base_url, console
        self._known = [known] if known else []
        self._codes = 0
        self._scanned = False

    async def run(self) -> dict[str, Any] | None:
        await self._show()
        while True:
            status = await self._poll()
            match status.get("status"):
                case "confirmed":
                    return self._login_of(status)
                case "binded_redirect":
                    self._console.say("这个微信已经连接过，继续用原来的登录。")
                    return None
                case "scaned_but_redirect" if status.get("redirect_host"):
                    self._base = f"{urlsplit(self._home).scheme}://{status['redirect_host']}"
                case "scaned":
                    self._verify = ""
                    self._say_scanned()
                case "need_verifycode":
                    again = "数字不对，请再输入一次：" if self._verify else "请输入手机微信上显示的数字："
                    self._verify = (await self._console.ask(again)).strip()
                    continue
                case "verify_code_blocked":
                    self._console.say("输错的次数太多，换一个二维码。")
                    await self._show()
                case "expired":
                    self._console.say("二维码过期了，换一个。")
                    await self._show()
            await asyncio.sleep(_BETWEEN)

    async def _show(self) -> None:
        """Another QR code."""
        self._codes += 1
        if self._codes > _CODES:
            raise AdapterError("No QR code was scanned and confirmed: log in again later.")
        code = await Ilink(self._http, self._home).qr_code(self._known)
        self._code, self._base, self._verify, self._scanned = str(code["qrcode"]), self._home, "", False
        self._console.say("请用手机微信扫描二维码：")
        self._console.show_qr(str(code["qrcode_img_content"]))

    async def _poll(self) -> dict[str, Any]:
        query = {"qrcode": self._code, **({"verify_code": self._verify} if self._verify else {})}
        try:
            return await Ilink(self._http, self._base).get("get_qrcode_status", query, _LONG_POLL)
        except (AdapterError, httpx.HTTPError):  # also a gateway that has waited long enough
            return {"status": "wait"}

    def _say_scanned(self) -> None:
        if not self._scanned:
            self._console.say("扫到了，请在手机上确认。")
        self._scanned = True

    def _login_of(self, status: dict[str, Any]) -> dict[str, Any]:
        if not status.get("bot_token") or not status.get("ilink_bot_id"):
            raise AdapterError("WeChat confirmed the login and gave no token: log in again.")
        self._console.say("已连接微信。先在微信里给机器人发一句话。")
        return {
            "token": status["bot_token"],
            "bot": status["ilink_bot_id"],
            "base_url": status.get("baseurl") or self._home,
        }
