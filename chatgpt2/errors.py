"""The errors that chatgpt2 raises on purpose.

    ChatGPT2Error
    ├── CorpusError      a dialogue file cannot be read as one (path, line)
    ├── CheckpointError  a model directory, vocabulary or tokenizer cannot be used
    ├── ConfigError      an option or a setting is wrong (NoSuchSession)
    ├── EngineError      a reply cannot be generated
    ├── StoreError       the session database cannot be used (LeaseLost)
    └── AdapterError     a chat platform or its bot failed (RetryLater, WindowClosed, Blocked, Rejected)

Each message is one sentence that a user can act on; `cli` prints it and exits with status 2.
"""

from __future__ import annotations

from pathlib import Path


class ChatGPT2Error(Exception):
    """Root of all errors of this package."""


class CorpusError(ChatGPT2Error):
    """A corpus cannot be read. `path` is the file, `line` the 1-based line (None: the whole file)."""

    def __init__(self, path: Path | str, line: int | None, problem: str) -> None:
        self.path = Path(path)
        self.line = line
        self.problem = problem
        where = str(path) if line is None else f"{path}, line {line}"
        super().__init__(f"{where}: {problem}")


class CheckpointError(ChatGPT2Error):
    """A model directory, a vocabulary or a tokenizer is missing, damaged or does not fit."""


class ConfigError(ChatGPT2Error):
    """An option, an environment variable or a setting has a value that cannot work."""


class NoSuchSession(ConfigError):
    """A session is named that is not there, or not any more."""


class EngineError(ChatGPT2Error):
    """A reply cannot be generated."""


class PromptError(EngineError):
    """What was asked cannot be answered by this model, now or later: too long, or not in its vocabulary."""


class EngineBusy(EngineError):
    """More requests are waiting than the engine takes: try again later."""


class ReplyTimeout(EngineError):
    """A reply took longer than it may."""


class ReplyStopped(EngineError):
    """Somebody stopped the reply."""


class StoreError(ChatGPT2Error):
    """The session database cannot be opened, read or written."""


class LeaseLost(StoreError):
    """Another process has taken over what this one was working on."""


class AdapterError(ChatGPT2Error):
    """A chat platform refused, or its bot cannot run."""


class RetryLater(AdapterError):
    """The platform takes nothing now. `after`: seconds until it may."""

    def __init__(self, after: float, why: str = "the platform asks for a pause") -> None:
        self.after = after
        super().__init__(f"{why} ({after:g} s)")


class WindowClosed(AdapterError):
    """The time or the number of replies that the platform allows to this message is used up."""


class Blocked(AdapterError):
    """The person or the chat does not take messages of this bot any more."""


class Rejected(AdapterError):
    """The platform does not take this message, now or later."""
