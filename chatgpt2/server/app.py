"""The application: routes, health, and what is let in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from chatgpt2 import __version__
from chatgpt2.chat import ChatService
from chatgpt2.errors import StoreError
from chatgpt2.gateway import Gateway
from chatgpt2.server import bots, completions, faults, page, sessions
from chatgpt2.server.door import Door
from chatgpt2.server.limits import Limited
from chatgpt2.server.metrics import Counting, Measured, Metrics
from chatgpt2.store import ApiKeys, SessionStore

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def create_app(
    service: ChatService,
    store: SessionStore,
    hosts: Sequence[str] = ("*",),
    keys: ApiKeys | None = None,
    gateway: Gateway | None = None,
) -> FastAPI:
    """The service over HTTP.

    hosts    names that requests may give as the server's; others are refused, so that a page elsewhere cannot reach
             a loopback server by giving its own name the loopback address
    keys     one of them is asked for by everything but the page and the health; None: no key is needed
    gateway  whose bots have their webhooks here
    """
    metrics = Metrics()
    service.models.measure(lambda engine: Measured(engine, metrics))
    app = FastAPI(title="chatgpt2", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Limited)
    app.add_middleware(Counting, metrics=metrics)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    faults.install(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    guards = [] if keys is None else [Depends(Door(keys))]
    failures = faults.documented(400, 401, 404, 429, 500)
    app.include_router(completions.routes(service.models), dependencies=guards, responses=failures)
    app.include_router(sessions.routes(service, store), dependencies=guards, responses=failures)

    app.include_router(metrics.routes(), dependencies=guards)
    bots.mount(app, gateway, metrics)
    page.mount(app)

    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], responses={503: {"description": "The database does not answer."}})
    async def readyz() -> JSONResponse:
        """Model and database answer."""
        try:
            await store.ping()
        except StoreError as error:
            return JSONResponse({"status": "unready", "database": str(error)}, 503)
        model = completions.name_of(service.models.current)
        return JSONResponse({"status": "ok", "model": model, **bots.stages(gateway)})

    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. FastAPI names 422 for what `faults` answers with 400."""
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path in app.openapi_schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
    return app.openapi_schema
