"""The Telegram bot: what it is told by its settings, and how it receives."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from telegram import BotCommand, CallbackQuery, Update
from telegram.error import TelegramError

from chatgpt2.adapter import (
    Adapter,
    ConfigError,
    Health,
    Inbound,
    Inbox,
    Limits,
    Reply,
    Request,
    Response,
    Route,
    Services,
    read_settings,
)
from chatgpt2.bots.telegram.account import Account
from chatgpt2.bots.telegram.line import readable
from chatgpt2.bots.telegram.reply import Way
from chatgpt2.bots.telegram.updates import WANTED, read_update

_LONG_POLL = 25  # seconds that the server keeps a question open when there is nothing new
_DAY = 24 * 3600.0  # seconds that the server keeps updates
_LARGEST = 1 << 20  # bytes of an update
_LONGEST_MEANING = 256  # characters of a menu entry's text


@dataclass(frozen=True, slots=True)
class Settings:
    """The adapter's own settings.

    token          from @BotFather
    base_url       the Bot API server, one of your own perhaps
    webhook_url    where Telegram reaches this bot's route /webhook; None: long polling
    answer_edits   whether a message that was edited is answered anew
    """

    token: str = field(repr=False)
    base_url: str = "https://api.telegram.org"
    webhook_url: str | None = None
    answer_edits: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9]+:[A-Za-z0-9_-]+", self.token):
            raise ConfigError("token must look like 123456:ABC-def, as @BotFather gives it")
        if not self.base_url.startswith(("https://", "http://")):
            raise ConfigError("base_url must begin with https:// or http://")
        if self.webhook_url is not None and not self.webhook_url.startswith("https://"):
            raise ConfigError("webhook_url must begin with https://: Telegram takes no other")


class Telegram(Adapter):
    """One bot on Telegram."""

    name = "telegram"
    account = ""
    limits = Limits(4096, "utf16", preview="push")

    def __init__(self, settings: Settings, services: Services) -> None:
        self._settings, self._services = settings, services
        self._telegram = Account(settings.base_url, settings.token, services)
        self._bot = self._telegram.bot
        self._inbox: Inbox | None = None
        self._courtesies: set[asyncio.Task[None]] = set()
        # Every process knows it, and nobody has to think of one.
        self._secret = hmac.digest(settings.token.encode(), b"chatgpt2 webhook", "sha256").hex()

    async def start(self, inbox: Inbox) -> None:
        """See Adapter."""
        with self._telegram.receiving():
            me = await self._bot.get_me()
        self.account, self._inbox = str(me.id), inbox
        groups = "" if me.can_read_all_group_messages else "; in groups it sees what calls it, and no more"
        self._services.log.info("this is @%s%s", me.username, groups)

    async def run(self) -> None:
        """See Adapter."""
        await self._show_menu()
        if self._settings.webhook_url is not None:
            await self._announce(self._settings.webhook_url)
            return
        with self._telegram.receiving():
            await self._bot.delete_webhook()
        cursor, asked = await self._cursor(), self._services.clock()
        while True:
            new = await self._poll(cursor)
            if new != cursor:
                cursor, asked = new, self._services.clock()
            elif self._services.clock() - asked >= _DAY:  # see _cursor
                cursor = None

    async def _show_menu(self) -> None:
        """Put the commands into the menu beside the message field, when they have changed. Nobody waits for it."""
        menu = [[each.name, each.meaning[:_LONGEST_MEANING]] for each in self._services.commands]
        if not menu or await self._services.state.get(self._telegram.key("menu")) == menu:
            return
        try:
            await self._bot.set_my_commands([BotCommand(*entry) for entry in menu])
        except TelegramError as error:
            self._services.log.warning("the menu of commands is left as it was: %s", error)
        else:
            await self._services.state.set(self._telegram.key("menu"), menu)

    async def _announce(self, url: str) -> None:
        """Tell Telegram where to deliver: one update after the other, or they would overtake one another."""
        with self._telegram.receiving():
            await self._bot.set_webhook(
                url, max_connections=1, allowed_updates=WANTED, secret_token=self._secret
            )

    async def _poll(self, cursor: int | None) -> int | None:
        """Take what is new. The cursor moves when it is stored; the next question tells Telegram so."""
        with self._telegram.receiving():
            updates = await self._bot.get_updates(offset=cursor, timeout=_LONG_POLL, allowed_updates=WANTED)
        if not updates:
            return cursor
        await self._take(updates)
        cursor = updates[-1].update_id + 1
        await self._services.state.set(self._telegram.key("cursor"), [cursor, self._services.clock()])
        return cursor

    async def _cursor(self) -> int | None:
        """The first update that is not stored yet; None: whatever there is.

        After a week without updates Telegram begins to count anew, maybe from further down. What is a day old it
        has forgotten, so an older cursor says nothing that would be missed.
        """
        cursor, at = await self._services.state.get(self._telegram.key("cursor")) or (None, 0.0)
        return cursor if self._services.clock() - at < _DAY else None

    def routes(self) -> Sequence[Route]:
        """See Adapter."""
        return () if self._settings.webhook_url is None else (Route("POST", "/webhook", self._called),)

    async def _called(self, request: Request) -> Response:
        secret = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return Response(403)
        if len(request.body) > _LARGEST:
            return Response(413)
        try:
            update = Update.de_json(readable(json.loads(request.body)), self._bot)
        except (ValueError, LookupError, TypeError, AttributeError):
            return Response(400)
        self._telegram.heard()
        await self._take([update])
        return Response()

    async def _take(self, updates: Sequence[Update]) -> None:
        """Store what updates say. Raises StoreError."""
        assert self._inbox is not None, "start comes before run and routes"
        inbounds = []
        for update in updates:
            message = update.message
            if message and message.migrate_to_chat_id:
                await self._telegram.move(message.chat_id, message.migrate_to_chat_id)
            inbound = self._read(update)
            if inbound and (self._settings.answer_edits or not update.edited_message):
                origin = await self._telegram.origin(int(inbound.chat_id))
                inbounds.append(replace(inbound, chat_id=origin))
            if update.callback_query:
                self._be_polite(self._thank(update.callback_query, known=inbound is not None))
        await self._inbox.submit_all(inbounds)

    def _read(self, update: Update) -> Inbound | None:
        try:
            return read_update(update, self._bot.bot)
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # or it would come for ever
            self._services.log.warning("update %s is passed over: %r", update.update_id, error)
            return None

    def _be_polite(self, words: Coroutine[Any, Any, None]) -> None:
        """Do something that nothing waits for."""
        task = asyncio.create_task(words)
        self._courtesies.add(task)
        task.add_done_callback(self._courtesies.discard)

    async def _thank(self, query: CallbackQuery, known: bool) -> None:
        with suppress(TelegramError):  # too old, answered before: nobody minds
            await query.answer("谢谢，记下了。" if known else None)

    def open_reply(self, inbound: Inbound) -> Reply:
        """See Adapter."""
        return Way(self._telegram, inbound)

    def health(self) -> Health:
        """See Adapter."""
        polls = self._settings.webhook_url is None
        return Health(self._telegram.last_contact, self._telegram.last_error, 90.0 if polls else None)

    async def stop(self) -> None:
        """See Adapter."""
        await asyncio.gather(*self._courtesies, return_exceptions=True)


def build(settings: Mapping[str, Any], services: Services) -> Adapter:
    """See chatgpt2.adapter.Build."""
    return Telegram(read_settings(Settings, settings), services)
