"""Who holds a lease: a process, by a name that tells others on the same machine whether it is still there."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path
from uuid import uuid4

import psutil


def new_owner() -> str:
    """A name for a part of this process, different each time; up to 40 characters."""
    return f"{_machine()}-{os.getpid()}-{uuid4().hex[:12]}"


def is_dead(owner: str) -> bool:
    """Whether the process that gave itself this name has surely ended. What is on another machine may live."""
    machine, _, rest = owner.partition("-")
    number = rest.partition("-")[0]
    if machine != _machine() or not number.isdecimal():
        return False
    try:
        return bool(psutil.Process(int(number)).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@cache
def _machine() -> str:
    """What tells process ids apart: the machine since it was started, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        name = boot + str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        name = platform.node()
    return hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
