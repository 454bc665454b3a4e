"""Logging a bot in over HTTP: its QR code, and what it asks."""

from __future__ import annotations

import segno
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from chatgpt2.gateway import Gateway
from chatgpt2.gateway.logins import Login
from chatgpt2.server.exchanging import actor, from_here
from chatgpt2.server.faults import Fault, documented
from chatgpt2.store import Audit


class LoginState(BaseModel):
    """How a login is: what has been said, and what is wanted now. `qr`: rows of a QR code, 1 for dark, and `link`
    what it says; `question`: what is to be answered, hidden when it is `secret`."""

    running: bool
    said: list[str]
    qr: list[str] | None
    link: str | None
    question: str | None
    secret: bool
    error: str | None


class Answer(BaseModel):
    """What is typed in answer to the question."""

    text: str = Field(max_length=1000)


def routes(gateway: Gateway, audit: Audit, anybody_here: bool) -> APIRouter:
    """/api/admin/bots/NAME/login. `anybody_here`: nobody is asked for a key, so only this machine may."""
    router = APIRouter(prefix="/api/admin/bots", tags=["admin"])

    def check(name: str, request: Request) -> None:
        if anybody_here and not from_here(request):
            raise Fault(403, "Without keys a bot can be logged in from this machine only.", "forbidden")
        if not any(bot.name == name and bot.logs_in for bot in gateway.bots):
            raise Fault(404, f"There is no bot {name!r} here that is logged in by a person.", "bot_not_found")

    def present(name: str, request: Request) -> Login:
        check(name, request)
        if name not in gateway.logins:
            raise Fault(404, f"Nobody is logging {name} in.", "login_not_found")
        return gateway.logins[name]

    @router.post("/{name}/login", responses=documented(403, 404))
    async def log_in(name: str, request: Request) -> LoginState:
        """Begin to log a bot in; one that is under way goes on."""
        check(name, request)
        login = gateway.log_in(name)
        await audit.note(actor(request), "bot.login", bot=name)
        return _state(login)

    @router.get("/{name}/login", responses=documented(403, 404))
    async def look(name: str, request: Request) -> LoginState:
        """How the login is."""
        return _state(present(name, request))

    @router.post("/{name}/login/answer", responses=documented(403, 404, 409))
    async def answer(name: str, given: Answer, request: Request) -> LoginState:
        """Answer what the login asks."""
        login = present(name, request)
        if not login.answer(given.text):
            raise Fault(409, "Nothing is asked now.", "nothing_asked")
        return _state(login)

    return router


def _state(login: Login) -> LoginState:
    now = login.report()
    rows = None if now.qr is None else ["".join(map(str, row)) for row in segno.make(now.qr).matrix_iter()]
    return LoginState(
        running=now.running,
        said=list(now.said),
        qr=rows,
        link=now.qr,
        question=now.question,
        secret=now.secret,
        error=now.error,
    )
