"""The bot's account: the library's bot, and what is known of its chats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from telegram import Bot
from telegram.error import (
    BadRequest,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    TelegramError,
)

from chatgpt2.adapter import AdapterError, Blocked, Rejected, RetryLater, Services
from chatgpt2.bots.telegram.line import TOKEN, Flood, Line, NotSent, Updates

_UNREACHED = 5.0  # seconds before a server that could not be reached is tried again
_DISOWNED = 60.0  # seconds before a token that is not taken any more is tried again

# What Telegram says to a bot that may not write where it was asked (BadRequest has no codes).
_SHUT_OUT = ("chat not found", "not enough rights", "no rights", "write_forbidden", "administrator rights")


class Account:
    """What sends and what receives have in common.

    drafts        whether the server knows message drafts
    last_contact  when receiving last worked: a bot that does not hear is ill, though it can speak
    """

    def __init__(self, base_url: str, token: str, services: Services) -> None:
        self.services = services
        self.drafts = True
        self.last_contact: float | None = None
        self.last_error: str | None = None
        lines = [kind(services.http, token) for kind in (Line, Updates)]
        self.bot = Bot(TOKEN, f"{base_url.rstrip('/')}/bot", request=lines[0], get_updates_request=lines[1])

    def key(self, name: str) -> str:
        """The name under which something of this account is remembered."""
        return f"{self.bot.id}:{name}"

    async def move(self, old: int, new: int) -> None:
        """Remember that a group has got another id."""
        await self.services.state.set(self.key(f"moved:{new}"), await self.origin(old))

    async def origin(self, chat: int) -> str:
        """The id that a chat had at first: its conversation is kept under that one."""
        moved = await self.services.state.get(self.key(f"moved:{chat}")) if chat < 0 else None
        return str(moved or chat)

    def heard(self) -> None:
        """Telegram has answered, or called."""
        self.last_contact, self.last_error = self.services.clock(), None

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """What Telegram refuses, as one sentence on what to do."""
        try:
            yield
            self.heard()
        except Flood as error:
            raise RetryLater(error.after, "Telegram asks for a pause") from None
        except TelegramError as error:
            self.last_error = _advice(error)
            raise AdapterError(self.last_error) from None


@contextmanager
def sending() -> Iterator[None]:
    """What Telegram says to a message, as what the gateway does about it. What nobody knows is passed on."""
    try:
        yield
    except Flood as error:
        raise RetryLater(error.after, "Telegram asks for a pause") from None
    except NotSent as error:
        raise RetryLater(_UNREACHED, f"Telegram cannot be reached: {error}") from None
    except InvalidToken:
        raise RetryLater(_DISOWNED, "Telegram does not take the bot's token any more") from None
    except Forbidden as error:
        raise Blocked(f"Telegram: {error}") from None
    except BadRequest as error:
        kind = Blocked if any(words in str(error).lower() for words in _SHUT_OUT) else Rejected
        raise kind(f"Telegram: {error}") from None


def _advice(error: TelegramError) -> str:
    match error:
        case InvalidToken():
            return "Telegram does not know this token: take the one that @BotFather shows under /mybots, API Token."
        case Conflict() if "webhook" in str(error):
            return "Telegram delivers to a webhook that something else has set: two programs use this bot's token."
        case Conflict():
            return (
                "Another program receives this bot's messages: stop it, or give one of them a bot of its own."
            )
        case BadRequest():
            return f"Telegram refuses: {error}."
        case NetworkError():
            why = str(error).partition(". Parsing")[0]  # without the page that some server in between sent
            return (
                f"Telegram cannot be reached ({why}): check the network; the setting proxy names a way out."
            )
    return f"Telegram cannot be used: {error}."
