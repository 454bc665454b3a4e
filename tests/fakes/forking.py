"""chatgpt2 as processes that start at once: one process imports everything and forks a real one for each command.

Run as a script it reads commands, a JSON list of arguments each, and prints the number of each process.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

_PAUSE = 0.002
# What a command imports when it runs.
_NEEDED = ("chatgpt2.cli.bot", "chatgpt2.cli.service", "chatgpt2.loading", "chatgpt2.bots.telegram")


class Forks:
    """The processes of one crash test."""

    def __init__(self, server: asyncio.subprocess.Process) -> None:
        self._server = server

    async def start(self, *args: str) -> int:
        """Start `chatgpt2 ARGS`; its process id."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(args).encode() + b"\n")
        return int(await self._server.stdout.readline())


@asynccontextmanager
async def forking(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Forks]:
    """What the processes print goes to a file of each in `folder`."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", __file__, str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        await server.stdout.readline()  # it is ready
        yield Forks(server)
    finally:
        server.stdin.close()
        await server.wait()


async def end(pid: int, how: signal.Signals) -> None:
    """Send a signal, and wait until the process is no more."""
    os.kill(pid, how)
    while _lives(pid):
        await asyncio.sleep(_PAUSE)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _serve(folder: Path) -> None:
    for name in _NEEDED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave no zombies
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _be(folder, json.loads(line))
        print(pid, flush=True)


def _be(folder: Path, args: Sequence[str]) -> None:
    from chatgpt2.cli import cli

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(folder / f"{os.getpid()}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, log, log)):
        os.dup2(file, number)
    code = 1
    try:
        cli.main(args=list(args), prog_name="chatgpt2")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
