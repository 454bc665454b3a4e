"""What the kit needs to know of a platform: a fake of it, as people see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from chatgpt2.adapter import Adapter, Request, Response, Services

Refusal = Literal["later", "closed"]
Call = Callable[[str, str, Request], Awaitable[Response]]


class Platform(Protocol):
    """A fake of the platform, which lives on while adapters come and go.

    groups  whether the platform has groups
    """

    groups: bool

    def build(self, services: Services) -> Adapter:
        """An adapter for this platform, in a new process as far as it can tell."""
        ...

    async def say(
        self,
        text: str,
        message_id: int,
        *,
        chat: str = "1",
        group: bool = False,
        addressed: bool = True,
        call: Call,
    ) -> None:
        """Let a person say something; deliver it once more when the message id has been before. Ids grow with time.

        A webhook is called with `call(method, path, request)`; a poller finds the message at its next poll.
        """
        ...

    def seen(self, chat: str = "1") -> list[str]:
        """The messages that people in this chat have got for good, in order."""
        ...

    def refuse(self, how: Refusal) -> None:
        """Refuse the bot's next message: "later" as with 429 and the shortest pause, "closed" as when no reply is
        allowed any more (or the person has blocked the bot)."""
        ...
