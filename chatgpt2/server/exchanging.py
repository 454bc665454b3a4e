"""Another model for a service that runs."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from chatgpt2.chat import ChatService
from chatgpt2.errors import ChatGPT2Error, CheckpointError, ConfigError, EngineError
from chatgpt2.server.faults import Fault, documented
from chatgpt2.serving import Serving
from chatgpt2.store import ApiKey, Audit

# Loads the model in this directory, or (None) the one that the service would begin with now; gives the directory too.
Load = Callable[[str | None], Awaitable[tuple[str, Serving]]]

# One folder's name: whoever may exchange the model may not look around on the machine.
Folder = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*$")]


class Wanted(BaseModel):
    """Which model: the name of a folder beside the present model's; null loads the present one again."""

    model: Folder | None = None


class Answering(BaseModel):
    """The model that answers new requests. `fingerprint` tells trainings of one name apart."""

    model: str
    fingerprint: str


class Exchange:
    """Loads one model after another; the one that answers goes on until the next is ready, and if it fails.

    path   the directory or hub name of the model that answers now
    audit  notes each exchange
    tell   is told what became of each, for the log
    """

    def __init__(
        self,
        service: ChatService,
        load: Load,
        path: str,
        audit: Audit,
        tell: Callable[[str], None] = lambda what: None,
    ) -> None:
        self.path = path
        self._service, self._load, self._audit, self._tell = service, load, audit, tell
        self._loading = asyncio.Lock()

    async def to(self, source: str | None, actor: str) -> Serving:
        """Let another model answer, as `Load` has it; `actor` is who wants it, for the audit.

        Raises Fault (409) while another exchange is under way, else what loading raises; nothing is changed then.
        """
        if self._loading.locked():
            raise Fault(409, "Another model is being loaded already: wait until it answers.", "model_loading")
        async with self._loading:
            try:
                serving = await self._exchange(source)
            except ChatGPT2Error as error:
                self._tell(f"The present model stays: {error}")
                raise
            await self._audit.note(actor, "model.exchange", model=serving.name)
        self._tell(f"Now {serving.name} answers.")
        return serving

    async def _exchange(self, source: str | None) -> Serving:
        path, serving = await self._load(source)
        try:
            await self._service.exchange(serving)
        except BaseException:
            await serving.engine.close()
            raise
        self.path = path
        return serving

    def beside(self, name: str) -> str:
        """The directory of this name in the folder of the present model. Raises Fault when there is none."""
        present = Path(self.path).expanduser()
        if not _is_folder(present):
            what = f"The model {self.path} comes from the hub: there are no others beside it."
            raise Fault(409, what, "model_refused", "model")
        found = present.absolute().parent / name
        if not _is_folder(found):
            what = f"There is no folder {name!r} beside {present.name!r}."
            raise Fault(404, what, "model_not_found", "model")
        return str(found)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def routes(exchange: Exchange, anybody_here: bool) -> APIRouter:
    """POST /api/admin/model. `anybody_here`: nobody is asked for a key, so who comes from elsewhere is refused."""
    router = APIRouter(prefix="/api/admin", tags=["admin"])

    @router.post("/model", responses=documented(403, 409))
    async def exchange_model(wanted: Wanted, request: Request) -> Answering:
        """Let another model answer from now on, or the present one as it is on the disk now.

        Running replies end on the old one. What cannot be loaded changes nothing. Both are in memory for a while.
        """
        if anybody_here and not from_here(request):
            raise Fault(403, "Without keys the model can be exchanged from this machine only.", "forbidden")
        source = exchange.path if wanted.model is None else exchange.beside(wanted.model)
        try:
            serving = await exchange.to(source, actor(request))
        except (CheckpointError, ConfigError, EngineError) as error:
            raise Fault(409, f"The present model stays: {error}", "model_refused", "model") from error
        name, fingerprint = (serving.name or "").rpartition("@")[::2]
        return Answering(model=name, fingerprint=fingerprint)

    return router


def actor(request: Request) -> str:
    """Who asks, for the audit."""
    key = getattr(request.state, "key", None)
    return f"key {key.label}" if isinstance(key, ApiKey) else "this machine"


def from_here(request: Request) -> bool:
    """Whether the request comes from this machine, and not through a proxy on it."""
    forwarded = {"forwarded", "x-forwarded-for", "x-real-ip"} & set(request.headers)
    try:
        return (
            not forwarded and ipaddress.ip_address(request.client.host if request.client else "").is_loopback
        )
    except ValueError:
        return False
