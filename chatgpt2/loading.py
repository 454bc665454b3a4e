"""From a model's directory to a model that answers: which engine, and what the card says of talking to it.

Torch is imported only where the weights themselves are needed: it takes seconds, and a model that was converted for
OpenVINO before is served without it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from chatgpt2.anycodec import AnyCodec, banned, check_fit, left_out, load_codec
from chatgpt2.card import Card
from chatgpt2.device import choose_bf16, choose_device
from chatgpt2.dialogue import Dialogue
from chatgpt2.engine.base import Engine, EngineOptions, SamplingParams
from chatgpt2.engine.kept import made_of, origin, remember, remembered
from chatgpt2.engine.openvino import EXACT, FAST, OpenVinoEngine
from chatgpt2.engine.remote import RemoteEngine
from chatgpt2.errors import CheckpointError, ConfigError, EngineError
from chatgpt2.hub import locate
from chatgpt2.serving import Serving
from chatgpt2.vocabulary import vocabulary_hash

if TYPE_CHECKING:
    import torch

    from chatgpt2.checkpoint import AnyCheckpoint
    from chatgpt2.engine.pytorch import PyTorchEngine

Name = Literal["openvino", "pytorch", "remote"]
Notify = Callable[[Literal["converting", "slow"], str], None]


def openvino_installed() -> bool:
    """Whether everything is here that the openvino engine needs."""
    return all(map(importlib.util.find_spec, ("openvino_genai", "openvino_tokenizers", "nncf")))


def choose_engine(options: EngineOptions) -> tuple[Name, str]:
    """The engine and the device: on a CPU openvino where it is installed, else pytorch.

    Raises ConfigError when what was asked for cannot be had here.
    """
    if options.name == "remote" or (options.name == "auto" and options.url):
        if not options.url:
            raise ConfigError(
                "--engine remote needs the server's address: --engine-url http://HOST:PORT (or CHATGPT2_ENGINE_URL)"
            )
        return "remote", "cpu"
    wants_openvino = options.name == "openvino"
    device = "cpu" if wants_openvino and options.device == "auto" else choose_device(options.device)
    if options.name == "pytorch":
        return "pytorch", device
    installed = openvino_installed()
    if wants_openvino and device != "cpu":
        raise ConfigError(f"--engine openvino runs on the CPU: leave --device {options.device} out")
    if wants_openvino and not installed:
        raise ConfigError(
            "--engine openvino is not installed here: `pip install openvino-genai nncf`, or take --engine pytorch"
        )
    return ("openvino" if device == "cpu" and installed else "pytorch"), device


def open_model(
    source: str | Path,
    options: EngineOptions,
    cache: Path,
    notify: Notify = lambda notice, why: None,
) -> Serving:
    """Load a model (as `load_any` does) and serve it.

    cache   where converted models go when there is no place beside the weights
    notify  is called with "converting" before a conversion, which takes seconds, and with "slow" and the reason when
            OpenVINO was not asked for by name and fails: then PyTorch serves

    Raises ConfigError, CheckpointError or EngineError.
    """
    name, device = choose_engine(options)
    if name == "remote":
        return _remote(source, options)
    directory = locate(source)
    if name == "openvino" and (ready := _ready(source, directory, options, cache)):
        return ready
    from chatgpt2.checkpoint import load_any

    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    checkpoint = load_any(directory, device)
    if name == "pytorch":
        engine: Engine = _pytorch(checkpoint, device)
    else:
        try:
            engine = _converted(source, checkpoint, options, cache, partial(notify, "converting", ""))
        except EngineError as error:
            if options.name != "auto":
                raise
            notify("slow", str(error))
            name, engine = "pytorch", _pytorch(checkpoint, device)
    serving = serving_of(engine, checkpoint.codec, checkpoint.card, checkpoint.name)
    return replace(serving, kind=name, source=checkpoint.path)


def _ready(source: str | Path, directory: Path, options: EngineOptions, cache: Path) -> Serving | None:
    """A model that was converted before from the very files that lie there now. None: go the long way, which also
    says what is wrong."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        rows, positions = int(config["vocab_size"]), int(config["n_positions"])
        card = Card.read(directory)
        codec = load_codec(directory, card)
    except (OSError, ValueError, LookupError, TypeError, CheckpointError):
        return None
    made_from = origin(directory, banned(codec, rows), left_out(codec, rows))
    folders = _folders(source, directory, cache)
    found = (remembered(folder, options.weights, made_from) for folder in folders)
    if made_from is None or (files := next(filter(None, found), None)) is None:
        return None
    check_fit(directory, rows, positions, codec, card)
    try:
        engine = _openvino(source, files, codec.window, rows, options)
    except EngineError:
        return None
    card = card or Card(vocabulary_hash=vocabulary_hash(codec.vocabulary), window=codec.window)
    return replace(serving_of(engine, codec, card, directory.name), kind="openvino", source=directory)


def in_torch(checkpoint: AnyCheckpoint, device: str = "cpu") -> Serving:
    """A model that is loaded already, served by PyTorch on the device where it lies."""
    return serving_of(_pytorch(checkpoint, device), checkpoint.codec, checkpoint.card, checkpoint.name)


def serving_of(engine: Engine, codec: AnyCodec, card: Card, name: str) -> Serving:
    """What serves with these. Sampling settings that this version does not know are left out."""
    known = {each.name for each in fields(SamplingParams)}
    defaults = SamplingParams(**{name: value for name, value in card.sampling.items() if name in known})
    return Serving(engine, codec, defaults, Dialogue.of(card.opening).turns, _fingerprint(name, card))


def _fingerprint(name: str, card: Card) -> str:
    """Which training a reply came from: the name alone is soon another model's."""
    facts = json.dumps(asdict(card), sort_keys=True, default=str)
    return f"{name}@{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def _remote(source: str | Path, options: EngineOptions) -> Serving:
    """Only tokenizer and card are needed here: the weights are there."""
    url, key = _address(options.url or ""), (options.key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("CHATGPT2_ENGINE_KEY has characters that no key has: copy it again")
    directory = locate(source, weights=False)
    card = Card.read(directory)
    codec = load_codec(directory, card)
    rows = _rows(directory, len(codec.vocabulary))
    engine = RemoteEngine(
        url,
        window=codec.window,
        vocabulary=rows,
        # Not those that no text gives as well: thousands in every request, and no model has learned them.
        banned_ids=(*codec.banned_ids, *range(len(codec.vocabulary), rows)),
        model=options.model,
        key=key or None,
    )
    card = card or Card(window=codec.window)
    return replace(serving_of(engine, codec, card, directory.name), kind="remote", source=directory)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(f"--engine-url {url}: it must look like http://gpu-server:8000")
    return url


def _rows(directory: Path, entries: int) -> int:
    """Ids that the model has: there may be more than entries in the vocabulary."""
    try:
        rows = json.loads((directory / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return entries
    return max(entries, int(rows))


def _pytorch(checkpoint: AnyCheckpoint, device: str) -> PyTorchEngine:
    """In bf16 on a GPU that has it; a CPU gains nothing from it for one reply, and openvino serves many."""
    import torch

    from chatgpt2.engine.pytorch import PyTorchEngine

    if device == "cpu":
        _keep_in_memory(checkpoint.model)
    bf16 = device.startswith("cuda") and choose_bf16("auto", device)
    return PyTorchEngine(
        checkpoint.model,
        banned_ids=checkpoint.banned_ids,
        pad_id=checkpoint.codec.pad_id,
        dtype=torch.bfloat16 if bf16 else None,
    )


def _keep_in_memory(model: torch.nn.Module) -> None:
    """Copy the weights, which lie in the file still: training into the same folder would change them under running
    replies, or end the process."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def _openvino(
    source: str | Path, files: Path, window: int, vocabulary: int, options: EngineOptions
) -> Engine:
    served = made_of(files)

    def fallback() -> Engine:
        from chatgpt2.checkpoint import load_any
        from chatgpt2.engine.export import digest

        checkpoint = load_any(source)
        if digest(checkpoint.model) != served:  # it was trained on in the same place
            raise EngineError(
                f"no_repeat_ngram needs the weights that are served, but {source} has others now: load the model "
                "again, or leave no_repeat_ngram out"
            )
        return _pytorch(checkpoint, "cpu")

    return OpenVinoEngine(
        files,
        window=window,
        vocabulary=vocabulary,
        threads=options.threads,
        properties=EXACT if options.weights == "fp32" else FAST,
        fallback=fallback,
    )


def _converted(
    source: str | Path,
    checkpoint: AnyCheckpoint,
    options: EngineOptions,
    cache: Path,
    preparing: Callable[[], None],
) -> Engine:
    """The engine on files that are made now, or were before, and are remembered."""
    from chatgpt2.engine.export import exported

    assert checkpoint.path is not None
    made_from = origin(checkpoint.path, checkpoint.banned_ids, checkpoint.left_out)
    beside, *elsewhere = _folders(source, checkpoint.path, cache)
    convert = partial(
        exported,
        checkpoint.model,
        banned_ids=checkpoint.banned_ids,
        left_out=checkpoint.left_out,
        weights=options.weights,
        preparing=preparing,
    )
    try:
        files = convert(beside)
    except EngineError as error:
        if not elsewhere or not (
            isinstance(error.__cause__, PermissionError) or _errno(error) == errno.EROFS
        ):
            raise
        files = convert(elsewhere[0])
    if made_from and made_from == origin(checkpoint.path, checkpoint.banned_ids, checkpoint.left_out):
        remember(files.parent, options.weights, made_from, files)
    return _openvino(source, files, checkpoint.codec.window, checkpoint.model.config.vocab_size, options)


def _folders(source: str | Path, directory: Path, cache: Path) -> list[Path]:
    """Where the converted model may lie: beside the weights, where that is a directory of the user's own, or in
    `cache`, where two models of one name must not take each other's place."""
    own = Path(source).expanduser()
    where = hashlib.sha256(str(own.resolve()).encode()).hexdigest()[:8]
    cached = cache / f"{directory.name}-{where}"
    return [own / "openvino", cached] if own.is_dir() else [cached]


def _errno(error: EngineError) -> int | None:
    return getattr(error.__cause__, "errno", None)
