"""Routes whose good requests go past FastAPI's general machinery, which takes longer than they need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from chatgpt2.server.leaving import closed

_JSON = frozenset({"application/json", "application/json; charset=utf-8"})


def direct(name: str, body: type[BaseModel], **path: Any) -> type[APIRoute]:
    """The class of a route whose function takes the `request`, a body as `name`, and these parameters of its path.

    A request that is not as it should be is left to FastAPI, which tells what is wrong.
    """
    read = body.__pydantic_validator__.validate_json
    known = {parameter: TypeAdapter(kind) for parameter, kind in path.items()}

    class Direct(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            usual = super().get_route_handler()

            async def handle(request: Request) -> Response:
                if request.headers.get("content-type") not in _JSON:
                    return await usual(request)
                given = request.path_params
                try:
                    values = {each: kind.validate_python(given[each]) for each, kind in known.items()}
                    values[name] = read(await request.body())
                except ValidationError:
                    return await usual(request)
                except ClientDisconnect:
                    return closed()
                response: Response = await self.endpoint(request=request, **values)
                return response

            return handle

    return Direct


def add_direct(
    router: APIRouter,
    path: str,
    endpoint: Callable[..., Awaitable[Response]],
    route: type[APIRoute],
    responses: dict[int | str, dict[str, Any]],
) -> None:
    """POST `path`, answered by `endpoint`."""
    how: dict[str, Any] = {"methods": ["POST"], "response_model": None, "responses": responses}
    router.add_api_route(path, endpoint, route_class_override=route, **how)
