"""What an update of the Bot API says, as an Inbound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from telegram import (
    CallbackQuery,
    Chat,
    Message,
    MessageEntity,
    MessageReactionUpdated,
    ReactionType,
    ReactionTypeEmoji,
    Update,
    User,
)

from chatgpt2.adapter import Inbound

WANTED = ("message", "edited_message", "callback_query", "message_reaction", "stopped_message_generation")

_UP = frozenset("👍❤🔥🥰👏🎉🤩👌💯😍🏆⚡🤗🫡😘")
_DOWN = frozenset("👎💩🤮😡🤬🖕")


def read_update(update: Update, me: User) -> Inbound | None:
    """What a person did; None when there is nothing in it for the bot `me`.

    The chat is the one that Telegram names, also after a migration.
    """
    if update.message:
        return _message(update.message, me, f"{update.message.chat_id}:{update.message.message_id}")
    if update.edited_message and update.edited_message.text:
        return _message(update.edited_message, me, _event(update, update.edited_message.chat_id))
    if update.callback_query:
        return _pressed(update.callback_query, me, update)
    if update.message_reaction:
        return _reaction(update.message_reaction, me, update)
    if stopped := update.api_kwargs.get("stopped_message_generation"):  # younger than the library
        return _stopped(stopped, me, update)
    return None


def _event(update: Update, chat: int) -> str:
    """The id of what happened to a message, rather than of the message."""
    return f"{chat}:update:{update.update_id}"


def _message(message: Message, me: User, message_id: str) -> Inbound | None:
    sender = message.sender_chat or message.from_user
    mine = isinstance(sender, User) and sender.is_bot
    if sender is None or mine or message.is_automatic_forward:
        return None
    text, entities = message.text or "", message.parse_entities()
    command = _command(entities)
    if command and command.partition("@")[2].lower() not in ("", str(me.username).lower()):
        return None
    if not text and message.effective_attachment is None:
        return None  # someone joined, the title changed …
    calls = _calls({**entities, **message.parse_caption_entities()}, me)
    reply = message.reply_to_message
    said, is_group = message.edit_date or message.date, message.chat.type != Chat.PRIVATE
    return Inbound(
        "telegram",
        str(me.id),
        str(message.chat_id),
        str(sender.id),
        message_id,
        _clean(text, command, calls),
        "text" if text else "unsupported",
        is_group=is_group,
        addressed=bool(calls or command) or not is_group,
        to_bot=bool(reply and reply.from_user and reply.from_user.id == me.id),
        thread_id=_thread(message),
        sent_at=said.timestamp(),
        reply_to=_way_back(message.chat, _thread(message), message.message_id),
    )


def _command(entities: Mapping[MessageEntity, str]) -> str:
    """The command that a message begins with, with its "@bot"; "" when it is none."""
    firsts = (text for each, text in entities.items() if each.type == each.BOT_COMMAND and each.offset == 0)
    return next(firsts, "")


def _calls(entities: Mapping[MessageEntity, str], me: User) -> list[str]:
    """How the bot is called by name."""
    name = f"@{me.username}".lower()
    return [
        text
        for each, text in entities.items()
        if (each.type == each.MENTION and text.lower() == name)
        or (each.type == each.TEXT_MENTION and each.user is not None and each.user.id == me.id)
    ]


def _clean(text: str, command: str, calls: Sequence[str]) -> str:
    """What is said, without the bot's name."""
    if command:
        text = command.partition("@")[0] + text[len(command) :]
    for call in calls:
        before, _, after = text.partition(call)
        text = f"{before.rstrip()} {after.lstrip()}" if before.strip() and after.strip() else before + after
    return text.strip()


def _thread(message: Message) -> str:
    """The forum topic; a thread of replies in an ordinary group is none."""
    return str(message.message_thread_id or "") if message.is_topic_message else ""


def _way_back(chat: Chat, thread: str, message: int) -> dict[str, Any]:
    private = chat.type == Chat.PRIVATE
    return {
        "chat": chat.id,
        "thread": int(thread) if thread else None,
        "message": message,
        "private": private,
    }


def _pressed(query: CallbackQuery, me: User, update: Update) -> Inbound | None:
    verdict, _, about = (query.data or "").partition(":")
    if verdict not in ("up", "down") or query.message is None:
        return None
    chat, message = query.message.chat, query.message
    thread = _thread(message) if isinstance(message, Message) else ""
    return Inbound(
        "telegram",
        str(me.id),
        str(chat.id),
        str(query.from_user.id),
        _event(update, chat.id),
        verdict,
        "feedback",
        is_group=chat.type != Chat.PRIVATE,
        thread_id=thread,
        about=about,
        reply_to=_way_back(chat, thread, message.message_id),
    )


def _reaction(reaction: MessageReactionUpdated, me: User, update: Update) -> Inbound | None:
    before, now = _verdict(reaction.old_reaction), _verdict(reaction.new_reaction)
    if reaction.user is None or before == now:
        return None
    return Inbound(
        "telegram",
        str(me.id),
        str(reaction.chat.id),
        str(reaction.user.id),
        _event(update, reaction.chat.id),
        now,
        "feedback",
        is_group=reaction.chat.type != Chat.PRIVATE,
        about=f"{reaction.chat.id}:{reaction.message_id}",
        sent_at=reaction.date.timestamp(),
        reply_to=_way_back(reaction.chat, "", reaction.message_id),
    )


def _verdict(reactions: Sequence[ReactionType]) -> str:
    """What emojis say of a reply: "up", "down", or "" when they say neither."""
    emojis = {each.emoji for each in reactions if isinstance(each, ReactionTypeEmoji)}
    return "up" if emojis & _UP else "down" if emojis & _DOWN else ""


def _stopped(stopped: Mapping[str, Any], me: User, update: Update) -> Inbound:
    chat = Chat(stopped["chat"]["id"], Chat.PRIVATE)  # there are drafts nowhere else
    thread = str(stopped.get("message_thread_id") or "")
    return Inbound(
        "telegram",
        str(me.id),
        str(chat.id),
        str(chat.id),  # it has the id of its person
        _event(update, chat.id),
        kind="stop",
        thread_id=thread,
        reply_to=_way_back(chat, thread, stopped["draft_id"]),
    )
