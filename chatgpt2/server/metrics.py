"""What the service tells Prometheus."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import cached_property
from typing import Any, cast

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import Scope

from chatgpt2.engine.base import Engine, Reusing, SamplingParams, Step, check
from chatgpt2.errors import EngineBusy
from chatgpt2.server.faults import documented
from chatgpt2.store import SessionStore

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


_METHODS = {"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "PUT"}


class Metrics:
    """The counters of one service. A registry of their own, so that two services in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered.", "method", "route", "status")
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # finding them takes longer
        self.seconds = self._histogram("request_seconds", "From a request to the end of its answer.", "route")
        self.first_token = self._histogram(
            "first_token_seconds",
            "From asking the engine to its first token, the wait in its queue included.",
        )
        tokens = self._counter("tokens", "Tokens given to the engine and made by it.", "kind")
        self.prompt_tokens, self.reply_tokens = tokens.labels("prompt"), tokens.labels("reply")
        self.waiting = self.running = 0
        for name, meaning, count in (
            ("requests_waiting", "Requests whose first token has not come.", lambda: self.waiting),
            ("requests_running", "Requests whose reply is in the making.", lambda: self.running),
        ):
            self._gauge(name, meaning).set_function(count)
        self.refused = self._counter("busy", "Requests that a full queue refused.")
        self.database = self._histogram(
            "database_seconds", "Of a transaction, the wait for a connection included.", "kind"
        )
        self.connections = self._gauge("database_connections", "Connections to the database in use.")

    @cached_property
    def reused(self) -> Counter:
        """Only where an engine tells: a zero would say that nothing was known."""
        return self._counter("reused_tokens", "Prompt tokens that the engine knew from earlier replies.")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"chatgpt2_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"chatgpt2_{name}", meaning, registry=self.registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(f"chatgpt2_{name}", meaning, labels, buckets=_SECONDS, registry=self.registry)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer, by route, not by path: a session's id is no label."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        if (counted := self._answers.get((method, route, status))) is None:
            counted = self.requests.labels(method, route, str(status)), self.seconds.labels(route)
            self._answers[method, route, status] = counted
        counted[0].inc()
        counted[1].observe(seconds)

    def watch(self, store: SessionStore) -> None:
        """Count what the database does."""
        observers = {kind: self.database.labels(kind).observe for kind in ("read", "write")}
        store.measure(lambda kind, seconds: observers[kind](seconds))
        self.connections.set_function(lambda: store.connections)

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
        self._metrics.prompt_tokens.inc(len(prompt_ids))
        # A generator, for it can be closed; the protocol says iterator, as one does for generator methods.
        steps = cast("AsyncGenerator[Step]", self._engine.generate(prompt_ids, params))
        return _Counted(steps, self._metrics, self._count_reused)

    def _count_reused(self) -> None:
        if self._reusing is not None:
            before, self._reused = self._reused, self._reusing.reused_tokens
            self._metrics.reused.inc(self._reused - before)

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
                metrics.refused.inc()
            self._end()
            raise
        if self._waiting:
            self._waiting = False
            metrics.waiting -= 1
            metrics.running += 1
            metrics.first_token.observe(time.monotonic() - self._began)
        metrics.reply_tokens.inc(len(step.ids))
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
