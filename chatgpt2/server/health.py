"""Whether the process runs, and whether it can answer: for those who look after the service."""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from chatgpt2.engine.base import check
from chatgpt2.errors import EngineError, StoreError
from chatgpt2.gateway import Gateway
from chatgpt2.server import bots, completions
from chatgpt2.server.ongoing import Ongoing
from chatgpt2.serving import Exchangeable
from chatgpt2.store import SessionStore


class Alive(BaseModel):
    """The process runs."""

    status: Literal["ok"]


class BotState(BaseModel):
    """How a bot is: one that is out of order is no reason to take the service away."""

    stage: str
    healthy: bool
    silent_for: float | None
    last_error: str | None


class Ready(Alive):
    """The model that answers, and how each bot is."""

    model: str
    bots: dict[str, BotState] | None = None


class Unready(BaseModel):
    """What fails, and why."""

    status: Literal["unready", "stopping"]
    engine: str | None = None
    database: str | None = None


def mount(
    app: FastAPI, models: Exchangeable, store: SessionStore, gateway: Gateway | None, ongoing: Ongoing
) -> None:
    """Put /healthz and /readyz into the application."""

    @app.get("/healthz", tags=["health"], response_model=None, responses={200: {"model": Alive}})
    async def healthz() -> JSONResponse:
        """The process runs."""
        return JSONResponse({"status": "ok"})

    @app.get(
        "/readyz",
        tags=["health"],
        response_model=None,
        responses={200: {"model": Ready}, 503: {"model": Unready, "description": "Not now."}},
    )
    async def readyz() -> JSONResponse:
        """Engine and database would answer, and the service is not about to stop."""
        if ongoing.stopping:
            return JSONResponse({"status": "stopping"}, 503)
        if failing := await _failing(models, store):
            return JSONResponse({"status": "unready", **failing}, 503)
        return JSONResponse(
            {"status": "ok", "model": completions.name_of(models.current), **bots.states(gateway)}
        )


async def _failing(models: Exchangeable, store: SessionStore) -> dict[str, str]:
    """The parts that would not answer, and why."""
    failing: dict[str, str] = {}
    try:
        await store.ping()
    except StoreError as error:
        failing["database"] = str(error)
    try:
        async with models.lease() as serving:
            await check(serving.engine)
    except EngineError as error:
        failing["engine"] = str(error)
    return failing
