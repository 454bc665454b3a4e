"""Chunks to their platform: in order, each until it has arrived or cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from chatgpt2.adapter import Inbound, Reply
from chatgpt2.errors import Blocked, Rejected, RetryLater, StoreError, WindowClosed
from chatgpt2.gateway.desk import Desk
from chatgpt2.gateway.report import Tally
from chatgpt2.store import Chunk, Mailbox, Queue

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds between tries
_OLDEST = 24 * 3600.0  # seconds after which nobody waits for an answer any more

log = logging.getLogger(__name__)


class Delivery:
    """Sends the chunks of one process."""

    def __init__(self, mailbox: Mailbox | Desk, tally: Tally, clock: Callable[[], float]) -> None:
        self._mailbox, self._tally, self._clock = mailbox, tally, clock

    async def deliver(
        self, queue: Queue, chunks: Sequence[Chunk], reply: Reply, inbound: Inbound, window: float | None
    ) -> None:
        """Send the chunks of one answer. What cannot be sent is dropped, with all that follows it.

        Raises StoreError; nothing is forgotten then.
        """
        began = self._clock()
        ends = began + _OLDEST if window is None else (inbound.sent_at or began) + window
        for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
            platform_id = await self._persist(chunk, reply, ends)
            if platform_id is None:
                self._tally.dropped += await self._mailbox.drop(chunk)
                return
            await self._mailbox.sent(queue, chunk, platform_id, following)
            self._tally.sent += 1

    async def _persist(self, chunk: Chunk, reply: Reply, ends: float) -> str | None:
        """The platform's id; None: given up."""
        pause, unsure = _FIRST_PAUSE, chunk.begun
        while self._clock() <= ends:
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
        log.warning("an answer is dropped: it is too late for it")
        return None


async def _send(chunk: Chunk, reply: Reply) -> str:
    position, feedback = chunk.position, chunk.feedback_id
    return await reply.send(chunk.text, index=position, final=chunk.final, feedback_id=feedback) or ""
