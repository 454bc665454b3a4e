"""What a chat platform's adapter is written against: this package, the platform's own library, and nothing else."""

from __future__ import annotations

from chatgpt2.adapter.plugins import GROUP, Plugin, discover, find
from chatgpt2.adapter.protocols import Adapter, Build, Console, Inbox, Reply, Services, State
from chatgpt2.adapter.settings import read_settings
from chatgpt2.adapter.values import (
    Command,
    Handler,
    Health,
    Inbound,
    Kind,
    Limits,
    Preview,
    Request,
    Response,
    Route,
    Unit,
    length,
)
from chatgpt2.errors import AdapterError, Blocked, ConfigError, Rejected, RetryLater, WindowClosed

__all__ = [
    "GROUP",
    "Adapter",
    "AdapterError",
    "Blocked",
    "Build",
    "Command",
    "ConfigError",
    "Console",
    "Handler",
    "Health",
    "Inbound",
    "Inbox",
    "Kind",
    "Limits",
    "Plugin",
    "Preview",
    "Rejected",
    "Reply",
    "Request",
    "Response",
    "RetryLater",
    "Route",
    "Services",
    "State",
    "Unit",
    "WindowClosed",
    "discover",
    "find",
    "length",
    "read_settings",
]
