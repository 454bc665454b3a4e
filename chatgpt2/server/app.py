"""The application: routes, health, and what is let in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from chatgpt2 import __version__
from chatgpt2.chat import ChatService
from chatgpt2.gateway import Gateway
from chatgpt2.server import admin, bots, completions, exchanging, faults, health, logins, page, sessions
from chatgpt2.server.door import Door, bearer
from chatgpt2.server.entrance import Guard, Hosts
from chatgpt2.server.exchanging import Exchange
from chatgpt2.server.front import Front
from chatgpt2.server.metrics import Measured, Metrics
from chatgpt2.server.ongoing import Ongoing
from chatgpt2.server.passage import Limits
from chatgpt2.server.rates import Addresses
from chatgpt2.server.recording import Recorded
from chatgpt2.server.shortcuts import Shortcuts
from chatgpt2.store import ApiKeys, Audit, SessionStore

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Application:
    """The service over HTTP, and the requests that it is answering."""

    asgi: ASGIApp
    ongoing: Ongoing


def create_app(
    service: ChatService,
    store: SessionStore,
    hosts: Sequence[str] = ("*",),
    keys: ApiKeys | None = None,
    *,
    limits: Limits = Limits(),  # noqa: B008 (it is frozen)
    origins: Sequence[str] = (),
    exchange: Exchange | None = None,
    gateway: Gateway | None = None,
    log: Callable[[str], object] | None = None,
) -> Application:
    """The service over HTTP.

    hosts     names that requests may give as the server's; others are refused, so that a page elsewhere cannot reach
              a loopback server by giving its own name the loopback address
    keys      one of them is asked for by everything but the page and the health; None: no key is needed
    origins   pages of these sites may use the service in their visitors' browsers
    exchange  what loads another model; None: that is not offered over HTTP
    gateway   whose bots have their webhooks here
    log       takes a line for each request, with what was asked and answered; None: nothing is written
    """
    metrics, ongoing = Metrics(), Ongoing()
    service.models.measure(lambda engine: Measured(engine, metrics))
    metrics.watch(store)
    app = FastAPI(title="chatgpt2", version=__version__, docs_url=None, redoc_url=None)
    faults.install(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    completing = completions.routes(service.models, service.blocked)
    talking = sessions.routes(service, store)
    others = _other_routes(service, store, keys is None, exchange, metrics, gateway)
    _add_routes(app, (completing[0], talking[0], *others), keys is None)
    app.include_router(metrics.routes(), dependencies=_named_key(keys is None))
    bots.mount(app, gateway, metrics)
    page.mount(app)
    health.mount(app, service.models, store, gateway, ongoing)
    inside = Shortcuts(app, (talking[1], completing[1]))
    front = Front(inside, limits, ongoing, metrics, (Hosts(hosts),), _guards(keys, limits))
    return Application(_around(front, origins, log), ongoing)


def _guards(keys: ApiKeys | None, limits: Limits) -> tuple[Guard, ...]:
    """Those of what is not open to everybody."""
    guards: list[Guard] = []
    if limits.per_minute:
        guards.append(Addresses(limits.per_minute))
    if keys is not None:
        guards.append(Door(keys, limits.per_key))
    return tuple(guards)


def _around(app: ASGIApp, origins: Sequence[str], log: Callable[[str], object] | None) -> ASGIApp:
    """With what few services ask for."""
    if origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    return app if log is None else Recorded(app, log)


def _named_key(nobody_asked: bool) -> list[Any]:
    """The key in the OpenAPI document; it is the entrance that asks for it."""
    return [] if nobody_asked else [Depends(bearer)]


def _add_routes(app: FastAPI, routers: Sequence[APIRouter], without_keys: bool) -> None:
    parts: dict[str, Any] = {
        "dependencies": _named_key(without_keys),
        "responses": faults.documented(400, 401, 404, 408, 413, 429, 500, 503, 504),
    }
    for router in routers:
        app.include_router(router, **parts)


def _other_routes(
    service: ChatService,
    store: SessionStore,
    without_keys: bool,
    exchange: Exchange | None,
    metrics: Metrics,
    gateway: Gateway | None,
) -> list[APIRouter]:
    """For those who look after the service."""
    routers = [admin.routes(service.models, store, metrics, gateway)]
    if exchange is not None:
        routers.append(exchanging.routes(exchange, without_keys))
    if gateway is not None:
        routers.append(logins.routes(gateway, Audit(store), without_keys))
    return routers


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. FastAPI names 422 for what `faults` answers with 400."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path in app.openapi_schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
    return app.openapi_schema
