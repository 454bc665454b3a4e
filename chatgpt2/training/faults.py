"""What can go wrong while training, in words that a user can act on."""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatgpt2.device import free_bytes
from chatgpt2.errors import ChatGPT2Error, CheckpointError, ConfigError
from chatgpt2.training.options import RunOptions
from chatgpt2.training.plan import Plan, default_lr

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)


@contextmanager
def explained(out: Path) -> Iterator[None]:
    """Turn running out of memory or disk into a sentence that says what to do."""
    try:
        yield
    except ChatGPT2Error:
        raise
    except Exception as error:  # each library reports a failed write or allocation by a class of its own
        if _is_full(error, out):
            free = free_bytes(out) >> 20
            raise CheckpointError(
                f"the disk of {out} is full ({free} MB free): free some, lower --keep, then go on with "
                "--resume"
            ) from error
        if isinstance(error, OSError):
            raise CheckpointError(f"cannot write to {out} ({error.strerror or error})") from error
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise ConfigError(
                "out of memory: lower --batch-tokens (half of it first), then --length, or take a smaller --size"
            ) from error
        raise


def not_finite(problem: str, text: str, options: RunOptions, plan: Plan, saved: int) -> ConfigError:
    """The end of a run that learns no more.

    text   what the batch begins with that it came to an end with
    saved  the last good step that is kept; 0: none
    """
    more = " --precision fp32" if plan.bf16 else ""
    lr = min(plan.lr / 10, default_lr(options))
    again = f"chatgpt2 {options.command} --resume --out {shlex.quote(str(options.out))} --lr {lr:g}{more}"
    kept = (
        f"the weights of step {saved:,} are kept in {options.out / 'checkpoints'}; if they are ruined already and it "
        "ends so again, begin anew in another --out"
        if saved
        else ""
    )
    return ConfigError(
        f"{problem}, in the batch that begins with {text!r}: look at that text, or go on with a lower learning rate "
        f"(`{again}`); {kept or 'no step was saved before'}"
    )


def _is_full(error: Exception, folder: Path) -> bool:
    """Whether the disk is full. torch and safetensors report a failed write in words of their own."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        return True
    return "failed writing file" in str(error) and free_bytes(folder) < 1 << 20
