"""Where to compute, and how precisely: the one choice that training, talking and the doctor share."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from chatgpt2.errors import ConfigError


def choose_device(name: str) -> str:
    """`auto` is the GPU where there is one; under torchrun each process takes the GPU of its number."""
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch  # takes two seconds

    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"--device {name} cannot be used here: {reason}") from error
        return name
    if torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _may_have_gpu() -> bool:
    """False where torch, once imported, would find none: a build without GPUs, or Linux without such a device."""
    if version("torch").endswith("+cpu"):
        return False
    nodes = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")
    return sys.platform != "linux" or any(any(Path("/dev").glob(node)) for node in nodes)


def choose_bf16(precision: str, device: str) -> bool:
    """Whether to multiply in bf16: `auto` says yes where the hardware has it (there it was faster)."""
    if precision != "auto":
        return precision == "bf16"
    if device.startswith("cuda"):
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and "avx512_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123
            return next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return ""


def free_bytes(directory: Path) -> int:
    """Bytes free on the disk that holds `directory` or its nearest existing parent."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free
