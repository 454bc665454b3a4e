"""The service as the server sees it: what every request goes through before anything is done for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from chatgpt2.errors import ChatGPT2Error
from chatgpt2.server.entrance import Guard, is_open
from chatgpt2.server.faults import UNFORESEEN, Fault, fault_of
from chatgpt2.server.metrics import Metrics
from chatgpt2.server.ongoing import Ongoing, stopping
from chatgpt2.server.passage import Left, Limits, Passage

HEALTH = frozenset({"/healthz", "/readyz", "/metrics"})  # asked for by those who look after the service


class Front:
    """Counts requests, asks the guards, and ends what takes too long or is left by its client.

    One layer, not one for each of these: every layer costs a request as much as the work in it.

    everywhere  guards that are asked about each request
    inside      guards that are asked about those that are not open to everybody
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        ongoing: Ongoing,
        metrics: Metrics,
        everywhere: Sequence[Guard],
        inside: Sequence[Guard],
    ) -> None:
        self._app, self._limits, self._ongoing, self._metrics = app, limits, ongoing, metrics
        self._everywhere, self._inside = tuple(everywhere), (*everywhere, *inside)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.monotonic()
        passage = Passage(scope, receive, send, self._limits)
        self._ongoing.begin(passage)
        try:
            with passage:
                if self._ongoing.stopping and scope["path"] not in HEALTH:
                    raise stopping()
                for guard in self._everywhere if is_open(scope["path"]) else self._inside:
                    await guard(passage)
                if passage.announced() > self._limits.body_bytes:
                    await passage.drain()
                await self._app(scope, passage.receive, passage.send)
        except Exception as error:
            await self._refuse(passage, error)
        finally:
            passage.end()
            self._ongoing.end(passage)
            self._metrics.answered(scope, passage.status or 500, time.monotonic() - began)

    async def _refuse(self, passage: Passage, error: Exception) -> None:
        """Answer with what is wrong. What nobody has foreseen is raised again, for the log."""
        if isinstance(error, Left):
            await passage.lost()
        elif isinstance(error, Fault):
            await passage.refuse(error)
        elif isinstance(error, ChatGPT2Error):
            await passage.refuse(fault_of(error))
        else:
            if passage.status is None:
                await passage.refuse(UNFORESEEN)
            raise error
