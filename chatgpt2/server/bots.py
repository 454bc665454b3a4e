"""The bots over HTTP: their webhooks, and how they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel

from chatgpt2.adapter import Request as Call
from chatgpt2.gateway import Gateway
from chatgpt2.server.metrics import Metrics


class BotState(BaseModel):
    """One bot, as BotReport has it. `logs_in`: a person has to log it in."""

    name: str
    platform: str
    stage: str
    healthy: bool
    restarts: int
    silent_for: float | None
    last_error: str | None
    logs_in: bool


class Bots(BaseModel):
    """The bots of this process, and what it has counted of all of them (Tally)."""

    bots: list[BotState]
    letters: dict[str, int]
    conversations: int


_LABELS = ("bot", "platform")


def mount(app: FastAPI, gateway: Gateway | None, metrics: Metrics) -> None:
    """Put the bots' webhooks into the application, and how they are into its metrics."""
    if gateway is not None:
        app.include_router(_routes(gateway))
        metrics.registry.register(BotMetrics(gateway))


def states(gateway: Gateway | None) -> dict[str, dict[str, dict[str, Any]]]:
    """How each bot is, for /readyz: one that is out of order is no reason to take the service away."""
    if gateway is None:
        return {}
    told = ("stage", "healthy", "silent_for", "last_error")
    return {"bots": {bot.name: {each: getattr(bot, each) for each in told} for bot in gateway.report()}}


def overview(gateway: Gateway | None) -> Bots | None:
    """The bots, for the operations page."""
    if gateway is None:
        return None
    return Bots(
        bots=[
            BotState(
                name=report.name,
                platform=report.platform,
                stage=report.stage,
                healthy=report.healthy,
                restarts=report.restarts,
                silent_for=report.silent_for,
                last_error=report.last_error,
                logs_in=bot.logs_in,
            )
            for bot, report in zip(gateway.bots, gateway.report(), strict=True)
        ],
        letters=asdict(gateway.tally),
        conversations=gateway.busy,
    )


def _routes(gateway: Gateway) -> APIRouter:
    """/bots/NAME/…: no key is asked for, because each platform proves itself in its own way."""
    router = APIRouter(prefix="/bots")

    @router.api_route("/{name}{path:path}", methods=["GET", "POST"], include_in_schema=False)
    async def webhook(name: str, path: str, request: Request) -> Response:
        call = Call(dict(request.query_params), dict(request.headers), await request.body())
        answer = await gateway.handle(name, request.method, path, call)
        return Response(answer.body, answer.status, media_type=answer.content_type)

    return router


class BotMetrics(Collector):
    """What Prometheus is told of the bots, read when it asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        up = GaugeMetricFamily("chatgpt2_bot_up", "1: the bot is well.", labels=_LABELS)
        silent = GaugeMetricFamily(
            "chatgpt2_bot_silent_seconds", "Since the platform was last heard of.", labels=_LABELS
        )
        restarts = CounterMetricFamily(
            "chatgpt2_bot_restarts", "How often the bot failed and was started again.", labels=_LABELS
        )
        failed = GaugeMetricFamily(
            "chatgpt2_bot_error", "1: something failed that has not worked since.", labels=_LABELS
        )
        for bot in self._gateway.report():
            labels = (bot.name, bot.platform)
            up.add_metric(labels, float(bot.healthy))
            restarts.add_metric(labels, bot.restarts)
            failed.add_metric(labels, float(bot.last_error is not None))
            if bot.silent_for is not None:
                silent.add_metric(labels, bot.silent_for)
        letters = CounterMetricFamily(
            "chatgpt2_bot_letters", "What came in and went out through bots.", labels=("what",)
        )
        for each in fields(self._gateway.tally):
            letters.add_metric((each.name,), getattr(self._gateway.tally, each.name))
        busy = GaugeMetricFamily("chatgpt2_bot_conversations", "Conversations that are being answered.")
        busy.add_metric((), self._gateway.busy)
        return [up, silent, restarts, failed, letters, busy]
