"""The way back into a Telegram chat."""

from __future__ import annotations

import asyncio
from math import inf

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters
from telegram.constants import ChatAction
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken

from chatgpt2.adapter import Inbound, Reply
from chatgpt2.bots.telegram.account import Account, sending
from chatgpt2.bots.telegram.line import Flood

# Edits count as messages: 20 a minute in a group, about one a second elsewhere. A reply that is ready sooner than
# the first pause is not shown before.
_FIRST_PAUSE, _PRIVATE_PAUSE, _GROUP_PAUSE = 1.0, 1.5, 4.0  # seconds

# What Telegram says of a message that was deleted, or that cannot be changed any more.
_GONE = ("message to edit not found", "message can't be edited", "message_id_invalid")


class Way(Reply):
    """The answer to one message. While it grows it is a draft in a private chat, and a message elsewhere that is
    edited again and again, and that the first chunk becomes."""

    def __init__(self, account: Account, inbound: Inbound) -> None:
        self._account, self._bot = account, account.bot
        self._clock, self._state = account.services.clock, account.services.state
        self._inbound, to = inbound, inbound.reply_to
        self._chat, self._thread, self._message = int(to["chat"]), to["thread"], int(to["message"])
        self._private = bool(to["private"])
        self._drafts = self._private
        self._key = f"shown:{inbound.message_id}"
        self._shown: int | None = None
        self._noted = False  # in the state, what is shown
        self._visible = False
        self._showing: asyncio.Task[None] | None = None
        self._not_before = self._clock() + _FIRST_PAUSE
        self._quiet_until = 0.0

    async def typing(self, on: bool) -> None:
        """See Reply."""
        if on and not self._visible and self._clock() >= self._quiet_until:
            try:
                await self._bot.send_chat_action(
                    self._chat, ChatAction.TYPING, message_thread_id=self._thread
                )
            except Flood as error:
                self._quiet_until = self._clock() + error.after

    async def preview(self, text_so_far: str) -> None:
        """See Reply. Whoever cancels this does not cancel what is on its way: `send` waits for it."""
        await self._settle()
        if text_so_far.strip() and self._clock() >= self._quiet_until:
            self._showing = asyncio.create_task(self._show(text_so_far))
            await self._settle()

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        """See Reply. The id is that of the chat and of the message in it."""
        await self._settle()
        buttons = None if feedback_id is None else _buttons(feedback_id)
        with sending():
            try:
                message = await self._deliver(chunk, index, buttons)
            except ChatMigrated as error:
                await self._account.move(self._chat, error.new_chat_id)
                self._chat, self._shown = error.new_chat_id, None
                message = await self._post(chunk, index, buttons)
        return f"{self._chat}:{message}"

    async def close(self) -> None:
        """See Reply."""
        await self._settle()
        if self._noted:
            await self._state.set(self._account.key(self._key), None)

    async def _settle(self) -> None:
        """Wait for what is being shown; an edit that came later would take the final text's place."""
        if self._showing is not None:
            await asyncio.wait({self._showing})

    async def _show(self, text: str) -> None:
        try:
            if self._drafts and self._account.drafts:
                await self._draft(text)
            elif self._clock() >= self._not_before:
                await self._grow(text)
        except Flood as error:
            self._quiet_until = self._clock() + error.after
        except (Forbidden, ChatMigrated):
            self._quiet_until = inf
        except Exception as error:  # whatever it is, the answer will say all of it
            self._account.services.log.info("a preview was not shown: %r", error)

    async def _draft(self, text: str) -> None:
        try:
            await self._bot.send_message_draft(
                self._chat,
                self._message,
                text,
                message_thread_id=self._thread,
                api_kwargs={"can_stop": True},
            )
            self._visible = True
        except InvalidToken:  # how the library reads the 404 of a server that is too old for drafts
            self._account.drafts = False
        except BadRequest:
            self._drafts = False

    async def _grow(self, text: str) -> None:
        self._not_before = self._clock() + (_PRIVATE_PAUSE if self._private else _GROUP_PAUSE)
        if self._shown is not None:
            await self._edit(self._shown, text, None)
            return
        self._shown = await self._post(text, 0, None)
        self._visible = True
        # Whoever goes on after a crash must find the message, or the person would see the answer twice.
        self._noted = True
        shown = [self._chat, self._shown]
        await self._state.set(self._account.key(self._key), shown, of=self._inbound)

    async def _deliver(self, chunk: str, index: int, buttons: InlineKeyboardMarkup | None) -> int:
        """Make what was shown the first chunk, or send a message; the message's id."""
        if index == 0 and (shown := await self._find_shown()) is not None:
            if await self._edit(shown, chunk, buttons):
                return shown
            self._shown = None
        return await self._post(chunk, index, buttons)

    async def _find_shown(self) -> int | None:
        """The message that shows the answer so far, maybe since before a crash."""
        if self._shown is None and (found := await self._state.get(self._account.key(self._key))):
            self._noted = True
            self._chat, self._shown = found
        return self._shown

    async def _edit(self, message: int, text: str, buttons: InlineKeyboardMarkup | None) -> bool:
        """Whether the message says `text` now; False when it is gone."""
        try:
            await self._bot.edit_message_text(text, self._chat, message, reply_markup=buttons)
        except BadRequest as error:
            reason = str(error).lower()
            if any(words in reason for words in _GONE):
                return False
            if "not modified" not in reason:
                raise
        return True

    async def _post(self, text: str, index: int, buttons: InlineKeyboardMarkup | None) -> int:
        """Send a message. In a group the first one points at what it answers."""
        points = (
            None
            if self._private or index
            else ReplyParameters(self._message, allow_sending_without_reply=True)
        )
        sent = await self._bot.send_message(
            self._chat,
            text,
            message_thread_id=self._thread,
            reply_parameters=points,
            reply_markup=buttons,
        )
        return sent.message_id


def _buttons(feedback_id: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup.from_row(
        [
            InlineKeyboardButton("👍", callback_data=f"up:{feedback_id}"),
            InlineKeyboardButton("👎", callback_data=f"down:{feedback_id}"),
        ]
    )
