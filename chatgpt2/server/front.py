"""The service as the server sees it: what every request goes through before anything is done for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from chatgpt2.errors import ChatGPT2Error
from chatgpt2.server.entrance import Guard, is_open
from chatgpt2.server.faults import UNFORESEEN, Fault, answer, fault_of
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
        try:
            if not self._ongoing.stopping:
                await self._counted(passage)
            elif scope["path"] in HEALTH:
                await self._app(scope, passage.receive, passage.send)
            else:
                refusal = answer(stopping())
                refusal.headers["Connection"] = "close"  # the next attempt may reach another process
                await refusal(scope, passage.receive, passage.send)
        except Exception:
            if passage.status is None:
                await passage.refuse(UNFORESEEN)
            raise
        finally:
            passage.unwatch()
            self._metrics.answered(scope, passage.status or 500, time.monotonic() - began)

    async def _counted(self, passage: Passage) -> None:
        """Answered, and known to be under way meanwhile."""
        self._ongoing.begin(passage)
        try:
            with passage:
                for guard in self._everywhere if is_open(passage.scope["path"]) else self._inside:
                    await guard(passage)
                await passage.check_announced()
                await self._app(passage.scope, passage.receive, passage.send)
        except Left:
            passage.lost()
        except Fault as fault:
            await passage.refuse(fault)
        except ChatGPT2Error as error:
            await passage.refuse(fault_of(error))
        finally:
            self._ongoing.end(passage)
