"""The shapes of an adapter and of what it is given. Inherit from Adapter and Reply to get their defaults, or not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from chatgpt2.adapter.values import Command, Health, Inbound, Limits, Route


class Inbox(Protocol):
    """Where an adapter puts what it received."""

    async def submit(self, inbound: Inbound) -> bool:
        """Store an event for good. False: it is here already, and nothing happened.

        Acknowledge the platform (answer its webhook, advance the cursor) only after this returned, with either value.
        Raises StoreError when the database fails: do not acknowledge then, so that the platform delivers again.
        """
        ...

    async def submit_all(self, inbounds: Sequence[Inbound]) -> list[bool]:
        """The same for events that came together, in order; it costs little more than one, and when it raises none
        of them may be acknowledged."""
        return [await self.submit(inbound) for inbound in inbounds]


class State(Protocol):
    """What an adapter must remember over restarts (cursor, access tokens): small JSON values by name.

    It belongs to the bot as it is called in the settings. Whose account may change puts that into the key. What is
    about a person (an id, a text, a token of the conversation) is kept `of` the event that it comes from: then it
    goes when the person is erased. A check of chatgpt2.adapter.testing looks for what was forgotten.
    """

    async def get(self, key: str) -> Any:
        """The value, or None."""
        ...

    async def set(self, key: str, value: Any, *, of: Inbound | None = None) -> None:
        """Store a value for good; None deletes it. Without `of` it is about whom it was about before, or nobody."""
        ...

    async def all(self, prefix: str = "") -> Mapping[str, Any]:
        """Every value whose key begins so."""
        ...


class Console(Protocol):
    """The person at the terminal who sets a bot up."""

    def say(self, text: str) -> None: ...

    def show_qr(self, content: str) -> None:
        """Draw `content` as a QR code."""
        ...

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """What the person typed, without echo when it is secret."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What an adapter may use besides its platform's library.

    http      a client with the proxy that is set; it lives as long as the adapter, which gives its own timeouts
    state     durable values
    clock     seconds since 1970; tests turn it
    log       for what an operator should know; never hand it a token
    commands  that the core does, for platforms with a menu of them
    feedback  whether opinions of replies are wanted; only who must know it before there is a `feedback_id` asks this
    proxy     the proxy that is set, for connections that `http` cannot make; None: the environment's
    """

    http: httpx.AsyncClient
    state: State
    clock: Callable[[], float]
    log: logging.Logger
    commands: Sequence[Command] = ()
    feedback: bool = True
    proxy: str | None = None


class Reply(Protocol):
    """The way back to whoever sent one inbound. The gateway uses it from one task only."""

    async def typing(self, on: bool) -> None:
        """Show or hide "is typing". Called again every 4 seconds while a reply is in the making, and not at all where
        this default is left as it is. What it raises is logged and passed over."""
        return None

    async def preview(self, text_so_far: str) -> None:
        """Show the text as far as it has grown, all of it each time; `send` follows with what is to stay.
        Texts that may not be shown are left out, so this never raises; being cancelled is all right."""
        return None

    async def send(self, chunk: str, *, index: int, final: bool, feedback_id: str | None) -> str:
        """Send one chunk for good; return the platform's id of it, or "".

        index        0, 1, …: the place of the chunk in the answer; (inbound.message_id, index) stays the same when
                     a chunk is sent again, so make the platform's idempotency key of it where there is one
        final        the last chunk
        feedback_id  up to 40 ASCII characters that an `Inbound` of kind "feedback" gives back as `about`;
                     None: no buttons here

        Raises RetryLater: it surely did not arrive, and will be sent again after so many seconds;
        WindowClosed, Blocked, Rejected: it did not, and will not: the rest of the answer is dropped.
        Anything else: nobody knows whether it arrived; it is sent again, with growing pauses.
        """
        ...

    async def close(self) -> None:
        """The answer is complete, dropped or stopped. Called once, whatever happened before."""
        return None


class Adapter(Protocol):
    """A bot on one account of one platform. Built once for each process that runs it.

    name     the platform, in lower case with hyphens: "telegram"
    account  which bot of the platform this is; known when `start` has returned, at the latest
    limits   what the platform allows
    """

    name: str
    account: str
    limits: Limits

    async def start(self, inbox: Inbox) -> None:
        """Check the settings with the platform and keep the inbox; nothing is received before. In every process.

        Raises AdapterError, with a sentence on what to do, when the platform refuses the bot. It is tried again
        later, as after `run`.
        """
        return None

    async def run(self) -> None:
        """Receive until cancelled. Of all processes with this account only one runs it at a time; with
        `Limits.receiver_answers` it is also the only one that opens replies.

        Whatever it raises is told, and it is started again after a pause (RetryLater sets how long); returning means
        that there is nothing to poll, as with webhooks.
        """
        return None

    def routes(self) -> Sequence[Route]:
        """Webhooks, served after `start` in every process. A handler that raises StoreError makes a 503."""
        return ()

    def open_reply(self, inbound: Inbound) -> Reply:
        """The way back to the sender of `inbound`, which may come from the database: only its fields are there.
        Does nothing yet, and does not raise."""
        ...

    def health(self) -> Health:
        """How things are; asked often, so it only looks."""
        return Health()

    async def login(self, console: Console) -> None:
        """Get what the bot needs from the person at the terminal, and keep it in the state (`chatgpt2 bot login`)."""
        console.say(f"{self.name}: there is nothing to log in to; its settings are enough.")

    async def stop(self) -> None:
        """Let go of everything. `run` has been cancelled, no reply is open. Has a few seconds."""
        return None


# The object an entry point of the group "chatgpt2.bots" names. Settings are the bot's table of the TOML file without
# what the gateway reads itself, with secrets filled in. Raises ConfigError; touches neither network nor state.
Build = Callable[[Mapping[str, Any], Services], Adapter]
