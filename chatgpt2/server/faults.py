"""What went wrong, in the shape that clients of the OpenAI API read."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chatgpt2.errors import ChatGPT2Error, ConfigError, EngineBusy, PromptError


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


def fault_of(error: ChatGPT2Error) -> Fault:
    """The status and code of an error of ours."""
    if isinstance(error, EngineBusy):
        return Fault(429, str(error), "server_busy")
    if isinstance(error, PromptError):
        return Fault(
            400, str(error), "context_length_exceeded" if "window" in str(error) else "invalid_prompt"
        )
    if isinstance(error, ConfigError):
        return Fault(400, str(error), "invalid_value")
    return Fault(500, str(error), "internal_error")


def body(fault: Fault) -> dict[str, Any]:
    """OpenAI's error object."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(fault.status, "invalid_request_error" if fault.status < 500 else "server_error")
    return {"error": {"message": str(fault), "type": kind, "param": fault.param, "code": fault.code}}


def _answer(fault: Fault) -> JSONResponse:
    headers = {}
    if fault.status in (429, 503):
        headers["Retry-After"] = str(fault.retry_after)
    if fault.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body(fault), fault.status, headers)


def _invalid(error: RequestValidationError) -> Fault:
    """The innermost of the problems: where a field may be one thing or another, it is the one that nearly fitted."""
    worst = max(error.errors(), key=lambda each: len(each["loc"]))
    # pydantic names the alternatives of a union by their types, which clients do not know.
    where = ".".join(str(part) for part in worst["loc"][1:] if not {*"[-"} & {*str(part)}) or None
    message = str(worst["msg"]).removeprefix("Value error, ")
    return Fault(400, f"{where}: {message}" if where else message, "invalid_value", where)


def install(app: FastAPI) -> None:
    """Let the app answer every failure so."""

    @app.exception_handler(Fault)
    async def refused(request: Request, error: Fault) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(ChatGPT2Error)
    async def failed(request: Request, error: ChatGPT2Error) -> JSONResponse:
        return _answer(fault_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _answer(_invalid(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        answer = _answer(Fault(error.status_code, f"{error.detail}: {request.method} {request.url.path}"))
        answer.headers.update(error.headers or {})
        return answer
