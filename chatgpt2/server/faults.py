"""What went wrong, in the shape that clients of the OpenAI API read."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from chatgpt2.errors import (
    ChatGPT2Error,
    ConfigError,
    EngineBusy,
    NoSuchSession,
    PromptError,
    ReplyStopped,
    ReplyTimeout,
)


class Fault(Exception):
    """A request that is refused."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int = 1,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after


UNFORESEEN = Fault(500, "Something unforeseen failed; the service's log says what.", "internal_error")


class Problem(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error object."""

    error: Problem


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The failures of a route, for the OpenAPI document."""
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in statuses}


_MEANINGS = {
    400: "The request cannot be understood or answered.",
    401: "A good API key is needed.",
    403: "This is not for everybody.",
    404: "There is no such thing.",
    408: "The request came too slowly.",
    409: "There is nothing to do this to.",
    413: "The request is too large.",
    429: "Too busy, or too many requests: try again later.",
    500: "The engine or the database failed.",
    503: "The service cannot answer now.",
    504: "The reply took too long.",
}


def fault_of(error: ChatGPT2Error) -> Fault:
    """The status and code of an error of ours."""
    if isinstance(error, EngineBusy):
        return Fault(429, str(error), "server_busy")
    if isinstance(error, ReplyTimeout):
        return Fault(504, str(error), "timeout")
    if isinstance(error, ReplyStopped):
        return Fault(409, str(error), "stopped")
    if isinstance(error, PromptError):
        return Fault(
            400, str(error), "context_length_exceeded" if "window" in str(error) else "invalid_prompt"
        )
    if isinstance(error, NoSuchSession):
        return Fault(404, "There is no such session.", "session_not_found", "session")
    if isinstance(error, ConfigError):
        return Fault(400, str(error), "invalid_value")
    return Fault(500, str(error), "internal_error")


def body(fault: Fault) -> dict[str, Any]:
    """OpenAI's error object."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(fault.status, "invalid_request_error" if fault.status < 500 else "server_error")
    return {"error": {"message": str(fault), "type": kind, "param": fault.param, "code": fault.code}}


def answer(fault: Fault) -> JSONResponse:
    """The response that refuses."""
    headers = {}
    if fault.status in (429, 503):
        headers["Retry-After"] = str(fault.retry_after)
    if fault.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body(fault), fault.status, headers)


def _invalid(error: RequestValidationError) -> Fault:
    """The innermost of the problems: where a field may be one thing or another, it is the one that nearly fitted."""
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return Fault(400, "The body is no valid JSON.", "invalid_json")
    worst = max(error.errors(), key=lambda each: len(each["loc"]))
    # pydantic names the alternatives of a union by their types, which clients do not know.
    where = ".".join(str(part) for part in worst["loc"][1:] if not {*"[-"} & {*str(part)}) or None
    message = str(worst["msg"]).removeprefix("Value error, ")
    return Fault(400, f"{where}: {message}" if where else message, "invalid_value", where)


def install(app: FastAPI) -> None:
    """Let the app answer every failure so."""

    @app.exception_handler(Fault)
    async def refused(request: Request, error: Fault) -> JSONResponse:
        return answer(error)

    @app.exception_handler(ChatGPT2Error)
    async def failed(request: Request, error: ChatGPT2Error) -> JSONResponse:
        return answer(fault_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(_invalid(error))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return answer(UNFORESEEN)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        refusal = answer(Fault(error.status_code, f"{error.detail}: {request.method} {request.url.path}"))
        refusal.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            methods = _methods(app, request)
            refusal.headers["Allow"] = ", ".join(sorted(methods)) or refusal.headers.get("Allow", "GET")
        return refusal


def _methods(app: FastAPI, request: Request) -> set[str]:
    """What may be done with a path: several routes have it, and each knows its own methods only."""
    operations = app.openapi()["paths"].items()
    shapes = {compile_path(path)[0]: methods for path, methods in operations}
    return {
        name.upper() for shape, found in shapes.items() if shape.match(request.url.path) for name in found
    }
