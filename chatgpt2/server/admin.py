"""What the operations page shows: model, load, sessions, feedback, training. Nothing of what was said."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from chatgpt2 import __version__
from chatgpt2.card import Card
from chatgpt2.gateway import Gateway
from chatgpt2.server.bots import Bots, overview
from chatgpt2.server.completions import name_of
from chatgpt2.server.metrics import Metrics
from chatgpt2.serving import Exchangeable, Serving
from chatgpt2.store import (
    Activity,
    Feedback,
    Opinion,
    SessionKey,
    SessionStore,
    count_sessions,
    latest_activity,
)
from chatgpt2.training.curve import read_metrics

_MOST_SESSIONS = 10
_MOST_OPINIONS = 20
_MOST_POINTS = 400  # of a curve: a screen shows no more


class Line(BaseModel):
    """One of the lines that are set before every prompt."""

    role: str
    text: str


class Model(BaseModel):
    """The model that answers. `sampling`: how, where a session says nothing else; `persona`: its opening lines."""

    name: str
    version: str | None
    engine: str | None
    window: int
    sampling: dict[str, int | float]
    persona: list[Line]


class Load(BaseModel):
    """What the engine does now (`running`, `waiting`: requests), and has done in the `seconds` since the start."""

    running: int
    waiting: int
    refused: int
    prompt_tokens: int
    reply_tokens: int
    seconds: float


class Active(BaseModel):
    """A session that was spoken in. `id` tells sessions apart; it is the beginning of the platform's."""

    platform: str
    id: str
    turns: int
    created: datetime
    last_active: datetime


class Sessions(BaseModel):
    """How many sessions there are, how many were spoken in during a day, and the latest."""

    count: int
    today: int
    latest: list[Active]


class Judgement(BaseModel):
    """What somebody thinks of a reply: the verdict and, where they wrote something, the text."""

    platform: str
    id: str
    verdict: Literal["up", "down"] | None
    text: str | None
    created: datetime


class Operations(BaseModel):
    """The service as its operator sees it. `bots`: None without any. `exchangeable`: by POST /api/admin/model."""

    chatgpt2: str
    model: Model
    load: Load
    sessions: Sessions
    feedback: list[Judgement]
    bots: Bots | None
    exchangeable: bool


class Point(BaseModel):
    """Of a curve. `loss` is per token, in nats."""

    step: int
    loss: float


class Training(BaseModel):
    """How the model that answers was trained."""

    facts: dict[str, Any]
    metrics: dict[str, float]
    loss: list[Point]
    held_out: list[Point]


def routes(models: Exchangeable, store: SessionStore, metrics: Metrics, gateway: Gateway | None) -> APIRouter:
    """The endpoints under /api that tell of the service itself."""
    router = APIRouter(prefix="/api", tags=["operations"])
    began = time.monotonic()

    @router.get("/model")
    async def model() -> Model:
        """The model that answers, and how it does where a session says nothing else."""
        return _model(models.current)

    @router.get("/admin")
    async def operations(request: Request) -> Operations:
        """Model, load, sessions and feedback, without anything that was said to the model or by it."""
        return Operations(
            chatgpt2=__version__,
            model=_model(models.current),
            load=_load(metrics, time.monotonic() - began),
            sessions=await _sessions(store),
            feedback=[_judgement(each) for each in await Feedback(store).recent(_MOST_OPINIONS)],
            bots=overview(gateway),
            exchangeable="/api/admin/model" in request.app.openapi()["paths"],
        )

    @router.get("/admin/training")
    async def training() -> Training:
        """How the model that answers was trained, as far as its directory tells."""
        return await asyncio.to_thread(_training, models.current.source)

    return router


def _model(serving: Serving) -> Model:
    defaults = serving.defaults
    return Model(
        name=name_of(serving),
        version=serving.name,
        engine=serving.kind,
        window=serving.codec.window,
        sampling={
            name: getattr(defaults, name)
            for name in ("temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens")
        },
        persona=[Line(role=turn.role, text=turn.text) for turn in serving.opening],
    )


def _load(metrics: Metrics, seconds: float) -> Load:
    def sample(name: str, **labels: str) -> int:
        return int(metrics.registry.get_sample_value(f"chatgpt2_{name}", labels) or 0)

    return Load(
        running=sample("requests_running"),
        waiting=sample("requests_waiting"),
        refused=sample("busy_total"),
        prompt_tokens=sample("tokens_total", kind="prompt"),
        reply_tokens=sample("tokens_total", kind="reply"),
        seconds=seconds,
    )


async def _sessions(store: SessionStore) -> Sessions:
    return Sessions(
        count=await count_sessions(store),
        today=await count_sessions(store, datetime.now(UTC) - timedelta(days=1)),
        latest=[_active(each) for each in await latest_activity(store, _MOST_SESSIONS)],
    )


def _active(each: Activity) -> Active:
    return Active(
        platform=each.key.platform,
        id=_short(each.key),
        turns=each.turns,
        created=each.created,
        last_active=each.last_active,
    )


def _judgement(each: Opinion) -> Judgement:
    return Judgement(
        platform=each.session.platform,
        id=_short(each.session),
        verdict=each.verdict,
        text=each.text,
        created=each.created,
    )


def _short(key: SessionKey) -> str:
    return key.chat[:8]


def _training(directory: Path | None) -> Training:
    if directory is None:
        return Training(facts={}, metrics={}, loss=[], held_out=[])
    card = Card.read(directory) or Card()
    records = read_metrics(directory / "metrics.jsonl")
    return Training(
        facts=card.training,
        metrics=card.metrics,
        loss=_curve(records, "loss"),
        held_out=_curve(records, "eval_loss"),
    )


def _curve(records: list[dict[str, Any]], key: str) -> list[Point]:
    """The points of a curve, thinned out by means: a long run has more than a screen."""
    points = [(record["step"], record[key]) for record in records if key in record]
    size = -(-len(points) // _MOST_POINTS) or 1
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [Point(step=part[-1][0], loss=sum(value for _, value in part) / len(part)) for part in parts]
