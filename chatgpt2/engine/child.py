"""A process of ours that is spoken to with pickled messages over its standard input and output."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from chatgpt2.errors import EngineError

_EXIT_SECONDS = 5


class Child:
    """Runs a module of ours with this Python. One thread sends and receives; any may hint."""

    def __init__(self, module: str) -> None:
        self._sending = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],  # not from the folder that one happens to be in
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C in a terminal goes to everyone there, and is for the chat to understand.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: object) -> None:
        """Raises EngineError when the process is gone."""
        try:
            self._write(message)
        except OSError as error:
            raise self._gone() from error

    def hint(self, message: object) -> None:
        """Send what changes nothing when it does not arrive."""
        with suppress(OSError, ValueError):  # ValueError: it was closed
            self._write(message)

    def _write(self, message: object) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with self._sending:
            pickle.dump(message, stdin)
            stdin.flush()

    def receive(self) -> Any:
        """Wait for the next message. Raises EngineError when the process ends instead."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            return pickle.load(stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._gone() from error

    def _gone(self) -> EngineError:
        self.close()
        status = self._process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return EngineError(f"the engine's process {how}")

    def close(self) -> None:
        """End the process: it ends by itself when its input does, or else is ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with suppress(OSError):  # it did not read what was said last
            stdin.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        stdout.close()
