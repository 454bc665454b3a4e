"""The web pages: static files, served with a policy that lets no other script run."""

from __future__ import annotations

import mimetypes
from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for again each time, so that an upgrade is seen at once
}


# Windows asks its registry, and browsers run no script that is called plain text.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def mount(app: FastAPI) -> None:
    """Serve the chat at /, the operations at /admin, and their files under /page."""
    for ending, kind in _TYPES.items():
        mimetypes.add_type(kind, ending)
    folder = Path(str(resources.files("chatgpt2.server.page")))
    app.mount("/page", _Files(directory=folder), name="page")

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(folder / "index.html", headers=_HEADERS)

    @app.get("/admin", include_in_schema=False)
    async def operations() -> FileResponse:
        return FileResponse(folder / "admin.html", headers=_HEADERS)
