"""Chunks to their platform: in order, each until it has arrived or cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from chatgpt2.adapter import Inbound, Reply
from chatgpt2.errors import Blocked, Rejected, RetryLater, StoreError, WindowClosed
from chatgpt2.gateway.desk import Desk
from chatgpt2.gateway.holding import Hold, NotHere
from chatgpt2.gateway.report import Tally
from chatgpt2.store import Chunk, Mailbox, Sent

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds between tries
_OLDEST = 24 * 3600.0  # seconds after which nobody waits for an answer any more

log = logging.getLogger(__name__)


class Delivery:
    """Sends the chunks of one process."""

    def __init__(self, mailbox: Mailbox | Desk, tally: Tally, clock: Callable[[], float]) -> None:
        self._mailbox, self._tally, self._clock = mailbox, tally, clock

    async def deliver(
        self, hold: Hold, chunks: Sequence[Chunk], reply: Reply, inbound: Inbound, window: float | None
    ) -> Sent | None:
        """Send the chunks of one answer; the last one, which is still to be noted as sent. What cannot be sent is
        dropped, with all that follows it.

        Raises StoreError, LeaseLost and NotHere; nothing is forgotten then.
        """
        began, sent = self._clock(), None
        ends = began + _OLDEST if window is None else (inbound.sent_at or began) + window
        for chunk in chunks:
            if sent is not None:
                await self._mailbox.sent(hold.queue, sent, chunk)
            platform_id = await self._persist(hold, chunk, reply, ends)
            if platform_id is None:
                self._tally.dropped += await self._mailbox.drop(hold.queue, chunk)
                return None
            sent = Sent(chunk, platform_id)
            self._tally.sent += 1
        return sent

    async def _persist(self, hold: Hold, chunk: Chunk, reply: Reply, ends: float) -> str | None:
        """The platform's id; None: given up."""
        pause, unsure = _FIRST_PAUSE, chunk.begun
        while self._clock() <= ends:
            await hold.check()
            if not hold.answers():
                if not unsure:
                    await self._mailbox.not_sent(chunk)
                raise NotHere
            self._tally.repeated += unsure
            try:
                return await _send(chunk, reply)
            except RetryLater as error:
                unsure, wait = False, max(0.0, error.after)
                await self._mailbox.not_sent(chunk)
            except (WindowClosed, Blocked, Rejected) as error:
                log.warning("an answer is dropped: %s", error)
                return None
            except StoreError:
                raise
            except Exception as error:
                log.warning("a chunk may not have arrived, and is sent again in %g s: %r", pause, error)
                unsure, wait, pause = True, pause, min(2 * pause, _LONGEST_PAUSE)
            self._tally.retried += 1
            await asyncio.sleep(wait)
            await self._mailbox.again(hold.queue, chunk)
        log.warning("an answer is dropped: it is too late for it")
        return None


async def _send(chunk: Chunk, reply: Reply) -> str:
    position, feedback = chunk.position, chunk.feedback_id
    return await reply.send(chunk.text, index=position, final=chunk.final, feedback_id=feedback) or ""
