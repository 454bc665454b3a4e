"""What the service tells Prometheus."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import cached_property
from typing import Any, cast

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.types import Scope

from chatgpt2.engine.base import Engine, Reusing, SamplingParams, Step, check
from chatgpt2.errors import EngineBusy
from chatgpt2.server.faults import documented
from chatgpt2.server.tallies import Counters, Labels, Spreads
from chatgpt2.store import SessionStore

_METHODS = {"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT"}


class Metrics:
    """The counters of one service. A registry of their own, so that two services in a process do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counters(
            registry, "chatgpt2_requests", "Requests answered.", "method", "route", "status"
        ).values
        self.seconds = Spreads(
            registry, "chatgpt2_request_seconds", "From a request to the end of its answer.", "route"
        ).values
        meaning = "From asking the engine to its first token, the wait in its queue included."
        self.first_token = Spreads(registry, "chatgpt2_first_token_seconds", meaning).values[()]
        meaning = "Tokens given to the engine and made by it."
        self.tokens = Counters(registry, "chatgpt2_tokens", meaning, "kind").values
        self.waiting = self.running = 0
        self._gauge("requests_waiting", "Requests whose first token has not come.", lambda: self.waiting)
        self._gauge("requests_running", "Requests whose reply is in the making.", lambda: self.running)
        self.refused = Counters(registry, "chatgpt2_busy", "Requests that a full queue refused.").values
        meaning = "Of a transaction, the wait for a connection included."
        self.database = Spreads(registry, "chatgpt2_database_seconds", meaning, "kind").values

    @cached_property
    def reused(self) -> dict[Labels, int]:
        """Only where an engine tells: a zero would say that nothing was known."""
        meaning = "Prompt tokens that the engine knew from earlier replies."
        return Counters(self.registry, "chatgpt2_reused_tokens", meaning).values

    def _gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        Gauge(f"chatgpt2_{name}", meaning, registry=self.registry).set_function(value)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer, by route, not by path: a session's id is no label."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.requests[method, route, str(status)] += 1
        self.seconds[route,].observe(seconds)

    def watch(self, store: SessionStore) -> None:
        """Count what the database does."""
        store.measure(lambda kind, seconds: self.database[kind,].observe(seconds))
        meaning = "Connections to the database in use."
        self._gauge("database_connections", meaning, lambda: store.connections)

    def routes(self) -> APIRouter:
        """GET /metrics."""
        router = APIRouter(tags=["health"])

        text: dict[int | str, Any] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

        @router.get("/metrics", response_class=Response, responses=text | documented(401, 429))
        async def metrics() -> Response:
            """Counters in Prometheus' text format."""
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        return router


class Measured:
    """An engine whose work is counted."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine, self._metrics = engine, metrics
        self._reusing = engine if isinstance(engine, Reusing) else None
        self._reused = 0
        self._count_reused()

    def generate(self, prompt_ids: Sequence[int], params: SamplingParams) -> _Counted:
        """As the engine's own."""
        self._metrics.tokens["prompt",] += len(prompt_ids)
        # A generator, for it can be closed; the protocol says iterator, as one does for generator methods.
        steps = cast("AsyncGenerator[Step]", self._engine.generate(prompt_ids, params))
        return _Counted(steps, self._metrics, self._count_reused)

    def _count_reused(self) -> None:
        if self._reusing is not None:
            before, self._reused = self._reused, self._reusing.reused_tokens
            self._metrics.reused[()] += self._reused - before

    async def check(self) -> None:
        """As the engine's own."""
        await check(self._engine)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


class _Counted:
    """The steps of a request, as an iterator that can be closed. Not a generator: that takes longer."""

    __slots__ = ("_began", "_done", "_ended", "_metrics", "_steps", "_waiting")

    def __init__(self, steps: AsyncGenerator[Step], metrics: Metrics, ended: Callable[[], object]) -> None:
        self._steps, self._metrics, self._ended = steps, metrics, ended
        self._began, self._waiting, self._done = time.monotonic(), True, False
        metrics.waiting += 1

    def __aiter__(self) -> _Counted:
        return self

    async def __anext__(self) -> Step:
        metrics = self._metrics
        try:
            step = await anext(self._steps)
        except BaseException as error:
            if isinstance(error, EngineBusy):
                metrics.refused[()] += 1
            self._end()
            raise
        if self._waiting:
            self._waiting = False
            metrics.waiting -= 1
            metrics.running += 1
            metrics.first_token.observe(time.monotonic() - self._began)
        metrics.tokens["reply",] += len(step.ids)
        return step

    async def aclose(self) -> None:
        try:
            await self._steps.aclose()
        finally:
            self._end()

    def _end(self) -> None:
        if self._done:
            return
        self._done = True
        if self._waiting:
            self._metrics.waiting -= 1
        else:
            self._metrics.running -= 1
        self._ended()
