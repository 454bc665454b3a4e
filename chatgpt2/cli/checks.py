"""What `chatgpt2 doctor` looks at. Each check says what it found and, where something is wrong, what to do."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatgpt2.cli.home import data_folder, default_database_url, latest_model
from chatgpt2.errors import ChatGPT2Error

if TYPE_CHECKING:
    from chatgpt2.codec import Codec
    from chatgpt2.engine.base import Engine

SHOWN = ("torch", "transformers", "tokenizers", "peft", "openvino-genai", "sqlalchemy")
# Without these one can work; `engines` tells what is missed.
DISPENSABLE = {"openvino-genai", "openvino-tokenizers", "nncf"}
LITTLE_DISK, LITTLE_MEMORY = 1 << 30, 1 << 30
_LEAST = re.compile(r"([\w-]+)>=([\d.]+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix`: what to do about it, in one line; `hint`: what one may do though nothing is wrong."""

    name: str
    value: str
    fix: str | None = None
    hint: str | None = None


def versions() -> Iterator[Finding]:
    """Python, chatgpt2 and its libraries; one that is missing or too old is a problem."""
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("chatgpt2", importlib.metadata.version("chatgpt2"))
    for line in importlib.metadata.requires("chatgpt2") or ():
        needed = _LEAST.match(line)
        if needed is None or "extra ==" in line:
            continue
        name, least = needed.groups()
        if name in DISPENSABLE and importlib.util.find_spec(name.replace("-", "_")) is None:
            continue
        finding = _library(name, least)
        if finding.fix or name in SHOWN:
            yield finding


def _library(name: str, least: str) -> Finding:
    fix = f"pip install '{name}>={least}'"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", fix)
    return Finding(name, found, fix if _numbers(found) < _numbers(least) else None)


def _numbers(version: str) -> tuple[int, ...]:
    """2.13.0+cpu → (2, 13, 0)."""
    leading = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in (leading.group() if leading else "").split(".") if part)


def devices() -> Iterator[Finding]:
    """Where models can run, how fast numbers are multiplied there, threads and memory."""
    import torch

    from chatgpt2.device import choose_bf16, choose_device

    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Finding(f"cuda:{number}", f"{about.name}, {_gigabytes(about.total_memory)}")
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        hint = "to use an NVIDIA GPU install torch with CUDA: https://pytorch.org/get-started/locally"
        yield Finding("cuda", "nvidia-smi is here, but torch sees no GPU", hint=hint)
    device = choose_device("auto")
    bf16 = "bf16" if choose_bf16("auto", device) else "fp32 (no bf16 in hardware)"
    yield Finding("device", f"{device}, training in {bf16}")
    yield _threads(torch.get_num_threads())
    yield _memory()


def _threads(threads: int) -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limited = os.environ.get("OMP_NUM_THREADS")
    hint = f"OMP_NUM_THREADS={limited} leaves cores idle" if limited and threads < cores // 2 else None
    return Finding("threads", f"{threads} on {cores} usable cores", hint=hint)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    little = memory.available < LITTLE_MEMORY
    fix = "close other programs, or train with --size tiny and a smaller --batch-tokens" if little else None
    return Finding("memory", f"{_gigabytes(memory.available)} of {_gigabytes(memory.total)} free", fix)


def engines() -> Iterator[Finding]:
    """Let a tiny model with random weights say three tokens on every engine that this machine could use."""
    import torch

    from chatgpt2.checkpoint import create_model
    from chatgpt2.codec import Codec
    from chatgpt2.engine.pytorch import PyTorchEngine
    from chatgpt2.vocabulary import default_vocabulary

    codec = Codec(default_vocabulary())
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        model = create_model("tiny", codec).to(device)  # type: ignore[arg-type]
        engine = PyTorchEngine(model, banned_ids=codec.banned_ids, pad_id=codec.pad_id)
        yield _three_tokens("engine pytorch", f" on {device}", engine, codec)
    yield from _openvino(codec)


def _openvino(codec: Codec) -> Iterator[Finding]:
    from chatgpt2.checkpoint import create_model
    from chatgpt2.loading import openvino_installed

    if not openvino_installed():
        hint = "replies on a CPU come several times faster with it: pip install openvino-genai nncf"
        yield Finding("engine openvino", "not installed", hint=hint)
        return
    with tempfile.TemporaryDirectory() as folder:
        from chatgpt2.engine.export import exported
        from chatgpt2.engine.openvino import OpenVinoEngine

        model, began = create_model("tiny", codec), time.perf_counter()
        files = exported(model, Path(folder), banned_ids=codec.banned_ids)
        about = f", prepared in {time.perf_counter() - began:.1f} s"
        engine = OpenVinoEngine(files, window=codec.window, vocabulary=len(codec.vocabulary))
        yield _three_tokens("engine openvino", about, engine, codec)


def _three_tokens(name: str, about: str, engine: Engine, codec: Codec) -> Finding:
    began = time.perf_counter()
    said = asyncio.run(_say(engine, codec))
    took = time.perf_counter() - began
    fix = None if said == 3 else f"the engine gave {said} tokens of 3: please report this"
    return Finding(name, f"works{about} (3 tokens in {took:.2f} s)", fix)


async def _say(engine: Engine, codec: Codec) -> int:
    from chatgpt2.dialogue import Dialogue
    from chatgpt2.engine.base import SamplingParams

    params = SamplingParams(max_new_tokens=3, min_new_tokens=3, stop_ids=codec.stop_ids, seed=0)
    prompt = codec.prompt(Dialogue.of(["你好"]), codec.window - 3)
    try:
        return sum([len(step.ids) async for step in engine.generate(prompt, params)])
    finally:
        await engine.close()


def folder() -> Iterator[Finding]:
    """The data folder: there, writable, with room."""
    from chatgpt2.device import free_bytes

    home = data_folder()
    free = free_bytes(home)
    fix = None
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        fix = f"it cannot be written ({error.strerror}): change its permissions, or set CHATGPT2_HOME"
    if free < LITTLE_DISK:
        fix = fix or "the disk is nearly full: free some, or set CHATGPT2_HOME to another one"
    yield Finding("data folder", f"{home} ({_gigabytes(free)} free)", fix)


def config(path: Path | None) -> Iterator[Finding]:
    """The TOML file of defaults. (One that cannot be read stops every command before it runs.)"""
    usual = data_folder() / "chatgpt2.toml"
    used = path or (usual if usual.exists() else None)
    yield Finding("config", str(used) if used else f"none ({usual} is read if it is there)")


def model() -> Iterator[Finding]:
    """The model that `chat` takes: there, loading, how good."""
    path = latest_model()
    if path is None:
        yield Finding("latest model", "none", hint="train one: chatgpt2 train-dialog CORPUS")
        return
    if not path.is_dir():
        fix = "it was moved or deleted: train another, or give chat its --model DIR"
        yield Finding("latest model", f"{path} is gone", fix)
        return
    from chatgpt2.checkpoint import load_checkpoint

    loaded = load_checkpoint(path)
    figures = ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in loaded.card.metrics.items()
    )
    size = f"{loaded.model.num_parameters() / 1e6:.1f} M parameters"
    yield Finding("latest model", f"{path} ({size}{'; ' if figures else ''}{figures})")


def database() -> Iterator[Finding]:
    """The sessions: none yet, how many, or a database that needs care. Looking changes nothing."""
    from chatgpt2.store.opening import HEAD, read_url

    given = os.environ.get("CHATGPT2_DATABASE") or default_database_url()
    url = read_url(given)
    if url.get_backend_name() != "sqlite" or str(url.database).startswith("file:"):
        yield Finding("database", f"{url.render_as_string(hide_password=True)}, {_counted(given)}")
        return
    path = Path(str(url.database))
    if not path.exists():
        yield Finding("database", f"{path} is not there yet: the first chat makes it")
        return
    revision = _sqlite_revision(path)
    if revision is not None and revision < HEAD:
        yield Finding("database", f"{path} has revision {revision}: the next chat brings it to {HEAD}")
        return
    yield Finding("database", f"{path}, revision {revision}, {_counted(given)}")


def _sqlite_revision(path: Path) -> str | None:
    """None: it has none, so opening it will say what it is."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def _counted(url: str) -> str:
    from chatgpt2.store import SessionStore

    async def count() -> tuple[int, int]:
        async with await SessionStore.open(url) as store:
            found = await store.sessions()
        return len(found), sum(info.turns + info.removed for info in found)

    sessions, turns = asyncio.run(count())
    return f"{sessions:,} session{'s'[: sessions != 1]} with {turns:,} turns"


def console() -> Iterator[Finding]:
    """Whether Chinese can be shown here."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        "你好".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        yield Finding("terminal", encoding, "it cannot show Chinese: set PYTHONUTF8=1 (or LANG=C.UTF-8)")
    else:
        yield Finding("terminal", encoding)


def examine(config_path: Path | None) -> Iterator[Finding]:
    """All findings, one after the other; a check that breaks is a finding too."""
    for name, check in (
        ("versions", versions),
        ("device", devices),
        ("engines", engines),
        ("data folder", folder),
        ("config", lambda: config(config_path)),
        ("latest model", model),
        ("database", database),
        ("terminal", console),
    ):
        yield from _guarded(name, check)


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except ChatGPT2Error as error:
        yield Finding(name, "cannot be used", str(error))
    except Exception as error:  # a broken library can raise anything, and finding that out is the task here
        why = next(iter(str(error).splitlines()), "")
        fix = "install chatgpt2 again (pip install --force-reinstall chatgpt2); if that does not help, report it"
        yield Finding(name, f"{type(error).__name__}: {why}", fix)


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB"
