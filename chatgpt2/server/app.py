"""The application: routes, health, and what is let in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from chatgpt2 import __version__
from chatgpt2.chat import ChatService
from chatgpt2.gateway import Gateway
from chatgpt2.server import admin, bots, completions, exchanging, faults, health, logins, page, sessions
from chatgpt2.server.door import Door, bearer
from chatgpt2.server.entrance import Entrance, Guard, Hosts
from chatgpt2.server.exchanging import Exchange
from chatgpt2.server.limits import Limited, Limits
from chatgpt2.server.metrics import Counting, Measured, Metrics
from chatgpt2.server.ongoing import Ongoing, Timed
from chatgpt2.server.rates import Addresses
from chatgpt2.server.recording import Recorded
from chatgpt2.store import ApiKeys, Audit, SessionStore

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


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
) -> FastAPI:
    """The service over HTTP. What runs is counted in `app.state.ongoing`.

    hosts     names that requests may give as the server's; others are refused, so that a page elsewhere cannot reach
              a loopback server by giving its own name the loopback address
    keys      one of them is asked for by everything but the page and the health; None: no key is needed
    origins   pages of these sites may use the service in their visitors' browsers
    exchange  what loads another model; None: that is not offered over HTTP
    gateway   whose bots have their webhooks here
    log       takes a line for each request, with what was asked and answered; None: nothing is written
    """
    metrics = Metrics()
    service.models.measure(lambda engine: Measured(engine, metrics))
    metrics.watch(store)
    app = FastAPI(title="chatgpt2", version=__version__, docs_url=None, redoc_url=None)
    _add_middleware(app, _guards(hosts, keys, limits), limits, origins, metrics)
    if log is not None:
        app.add_middleware(Recorded, write=log)
    faults.install(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    _add_routes(app, service, store, keys is None, exchange, metrics, gateway)
    app.include_router(metrics.routes(), dependencies=_named_key(keys is None))
    bots.mount(app, gateway, metrics)
    page.mount(app)
    health.mount(app, service.models, store, gateway)
    return app


def _guards(
    hosts: Sequence[str], keys: ApiKeys | None, limits: Limits
) -> tuple[tuple[Guard, ...], tuple[Guard, ...]]:
    """Those of every request, and those of what is not open to everybody."""
    inside: list[Guard] = []
    if limits.per_minute:
        inside.append(Addresses(limits.per_minute))
    if keys is not None:
        inside.append(Door(keys, limits.per_key))
    return (Hosts(hosts),), tuple(inside)


def _add_middleware(
    app: FastAPI,
    guards: tuple[tuple[Guard, ...], tuple[Guard, ...]],
    limits: Limits,
    origins: Sequence[str],
    metrics: Metrics,
) -> None:
    """From the inside out: what is added last sees a request first."""
    app.state.ongoing = Ongoing(limits.seconds)
    app.add_middleware(Limited, limits=limits)
    app.add_middleware(Entrance, everywhere=guards[0], inside=guards[1])
    app.add_middleware(Timed, ongoing=app.state.ongoing)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Counting, metrics=metrics)


def _named_key(nobody_asked: bool) -> list[Any]:
    """The key in the OpenAPI document; it is the entrance that asks for it."""
    return [] if nobody_asked else [Depends(bearer)]


def _add_routes(
    app: FastAPI,
    service: ChatService,
    store: SessionStore,
    without_keys: bool,
    exchange: Exchange | None,
    metrics: Metrics,
    gateway: Gateway | None,
) -> None:
    parts: dict[str, Any] = {
        "dependencies": _named_key(without_keys),
        "responses": faults.documented(400, 401, 404, 408, 413, 429, 500, 503, 504),
    }
    app.include_router(completions.routes(service.models, service.blocked), **parts)
    app.include_router(sessions.routes(service, store), **parts)
    app.include_router(admin.routes(service.models, store, metrics, gateway), **parts)
    if exchange is not None:
        app.include_router(exchanging.routes(exchange, without_keys), **parts)
    if gateway is not None:
        app.include_router(logins.routes(gateway, Audit(store), without_keys), **parts)


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. FastAPI names 422 for what `faults` answers with 400."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path in app.openapi_schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
    return app.openapi_schema
