"""The memory of this machine, as a training run uses it."""

from __future__ import annotations

import ctypes
import platform

import psutil
import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks for the next step instead of giving them back to the system.

    A step frees and takes the same large blocks again; handed back, each of their pages costs a fault.
    Measured: a third more steps a second. Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def memory_used() -> int:
    """Bytes that this process holds now: of the GPU where it has one, else of main memory."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return int(torch.cuda.memory_reserved())
    return int(psutil.Process().memory_info().rss)
