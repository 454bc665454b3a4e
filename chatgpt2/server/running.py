"""Run the application until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, TypeVar

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from chatgpt2.errors import ConfigError
from chatgpt2.server.app import Application

T = TypeVar("T")

_SELDOM = 10_000  # objects that are new until Python looks for cycles among them; its own choice is 700
_LAST_SECONDS = 2  # for connections whose client takes nothing any more


def run_on_fastest_loop(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run; the loop is uvloop's where that is installed, which it cannot be on Windows.

    Garbage in cycles is looked for seldom: a turn leaves hardly any, and the search goes through all that is loaded.
    """
    gc.set_threshold(_SELDOM)
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        return runner.run(main)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ConfigError when the address cannot be had."""
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as undo:
            bound = undo.enter_context(socket.socket(family, kind, proto))
            # On Windows SO_REUSEADDR would share the port with a server that has it already.
            option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
            bound.bind(place)
            undo.pop_all()
    except OSError as error:
        what = f"cannot listen on {host}, port {port} ({error.strerror or error})"
        raise ConfigError(f"{what}: choose another with --port or --host") from error
    return bound


def address(bound: socket.socket) -> str:
    """What a browser calls a socket of ours."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """One that leaves the signals to whoever runs it, and so what is stopped in which order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def running(
    app: Application, bound: socket.socket, grace: float, proxies: Sequence[str] = ()
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve while the context is entered; the task ends only when the server fails.

    At the end running replies have `grace` seconds. Whoever asks meanwhile is told to try again later: the port
    stays open until the last reply has gone out.

    proxies  addresses or networks whose X-Forwarded-For is believed
    """
    config = uvicorn.Config(
        app.asgi,
        log_level="warning",
        access_log=False,
        lifespan="off",
        workers=1,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    server, ongoing = _Server(config), app.ongoing
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    try:
        yield task
    finally:
        ongoing.stop()
        if not task.done():
            await ongoing.finished(grace)
        server.should_exit = True
        await task


@contextmanager
def on_signals(acts: Mapping[str, Callable[[], object]]) -> Iterator[None]:
    """Call these in the event loop when the process gets a signal (by name; those unknown here are left out)."""
    loop = asyncio.get_running_loop()

    def handler(act: Callable[[], object]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(act)

        return handle

    wanted = {getattr(signal, name): act for name, act in acts.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, handler(act)) for number, act in wanted.items()}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
