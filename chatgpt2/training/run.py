"""A run's folder: what it was asked, what it planned, where it can go on.

out/                 the finished checkpoint, metrics.jsonl, loss.png
out/run.json         options and plan, written before the first step
out/checkpoints/     saved steps, for --resume
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers

import chatgpt2
from chatgpt2.device import choose_bf16
from chatgpt2.errors import ConfigError
from chatgpt2.training.options import ClassifierOptions, RunOptions, TextOptions, TrainOptions
from chatgpt2.training.plan import Plan
from chatgpt2.training.trainer import COMPLETE

RUN = "run.json"
# What a command's options are.
KINDS: dict[str, type[RunOptions]] = {
    kind.command: kind for kind in (TrainOptions, TextOptions, ClassifierOptions)
}
_SOURCES = {"corpus", "paths"}  # what is trained on
_FILES = {*_SOURCES, "eval_corpus", "validation", "test"}
# These may differ when a run goes on: they change what is shown and kept, not what is learned.
FREE = {"out", "report_to", "keep", "samples", "threads", "device"}
# These too, because a run that came to an end by them could not go on otherwise.
CAREFUL = {"lr", "precision"}


Options = TypeVar("Options", bound=RunOptions)


@dataclass(frozen=True, slots=True)
class Run:
    """What run.json holds."""

    options: RunOptions
    plan: Plan
    data_fingerprint: str
    versions: dict[str, str]

    def write(self, out: Path) -> None:
        """Write run.json whole or not at all."""
        raw = {
            "command": self.options.command,
            "options": {key: _plain(value) for key, value in asdict(self.options).items()},
            "plan": asdict(self.plan),
            "data_fingerprint": self.data_fingerprint,
            "versions": self.versions,
        }
        fresh = out / (RUN + ".tmp")
        fresh.write_text(json.dumps(raw, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        fresh.replace(out / RUN)

    @classmethod
    def read(cls, out: Path) -> Run:
        """The run kept in `out`."""
        try:
            raw = json.loads((out / RUN).read_text(encoding="utf-8"))
            kind = KINDS[raw.get("command", TrainOptions.command)]
            return cls(
                kind(**_typed(kind, raw["options"])),
                Plan(**raw["plan"]),
                raw["data_fingerprint"],
                raw["versions"],
            )
        except FileNotFoundError as error:
            raise ConfigError(f"--resume: {out} holds no run (no {RUN}): check --out") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"--resume: {out / RUN} cannot be read ({error})") from error


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _typed(kind: type[RunOptions], raw: dict[str, Any]) -> dict[str, Any]:
    known = {f.name for f in fields(kind)}
    typed = {key: value for key, value in raw.items() if key in known}
    for key in _FILES & typed.keys():
        typed[key] = tuple(Path(p) for p in typed[key])
    for key in {"report_to", "split"} & typed.keys():
        typed[key] = tuple(typed[key]) if typed[key] is not None else None
    for key in {"out", "vocabulary"} & typed.keys():
        typed[key] = Path(typed[key]) if typed[key] is not None else None
    return typed


def last_step(out: Path) -> Path | None:
    """The newest saved step that was saved whole."""
    whole = [p.parent for p in (out / "checkpoints").glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)


def check_free(out: Path) -> None:
    """Refuse an `out` that holds something else, so that no run overwrites another."""
    if out.is_dir() and any(out.iterdir()):
        if (out / RUN).exists():
            command = _command(out)
            raise ConfigError(
                f"--out {out} holds another run: continue it with `chatgpt2 {command} --resume --out {out}`, "
                "choose another folder, or delete it"
            )
        raise ConfigError(f"--out {out} is not empty: choose another folder")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file: choose a folder")


def with_whole_paths(options: Options) -> Options:
    """The same options with absolute paths, so that a run can go on from another folder."""
    return type(options)(**{f.name: _whole(f.name, getattr(options, f.name)) for f in fields(options)})


def _whole(key: str, value: Any) -> Any:
    """The value of an option, with whole paths."""
    if key in _FILES:
        return tuple(Path(p).resolve() for p in value)
    if key == "vocabulary" and value is not None:
        return Path(value).resolve()
    if key in ("base", "tokenizer") and _is_folder(value):
        return str(Path(value).resolve())
    return value


def _is_folder(name: Path | str | None) -> bool:
    return name is not None and str(name) not in ("bert", "char", "bpe") and Path(name).is_dir()


def _command(out: Path) -> str:
    """The command that the run in `out` is one of."""
    try:
        return Run.read(out).options.command
    except ConfigError:  # damaged, but not to be written over either
        return TrainOptions.command


def resumed_options(kind: type[Options], given: dict[str, Any]) -> Options:
    """The options of the run in the folder `given["out"]`, which must be of this kind; what else is given must be
    as it began. Raises ConfigError."""
    saved = Run.read(given["out"]).options
    if not isinstance(saved, kind):
        raise ConfigError(
            f"--resume: the run in {given['out']} is one of `chatgpt2 {saved.command}`: use that"
        )
    if unknown := given.keys() - {field.name for field in fields(kind)}:
        raise ConfigError(f"{kind.command} has no option {min(unknown)!r}: leave it out")
    return _again(saved, given)


def _again(saved: Options, given: dict[str, Any]) -> Options:
    """The options of the saved run; one given again must be the same, unless it cannot change the result or is one
    that a run may have come to an end by.

    Paths may be given again as they were typed.
    """
    changed = dict(asdict(saved))
    for key, value in given.items():
        if key in FREE | CAREFUL:
            changed[key] = value
        elif changed[key] != _whole(key, value):
            out, began = given.get("out", saved.out), _spelled(changed[key])
            if key in _SOURCES:
                raise ConfigError(
                    f"--resume goes on with what the run in {out} began with ({began}), not "
                    f"with {_spelled(value)}: leave that out, or train on it in another --out"
                )
            flag = "as" if key == "shape" else key.replace("_", "-")
            raise ConfigError(
                f"--{flag} cannot change in a resumed run (it began with {began}): leave it out"
            )
    return type(saved)(**changed)


def goes_on(run: Run, options: RunOptions, device: str) -> Run:
    """The run with the learning rate and the precision of `options`, which it keeps from now on."""
    same = options.precision == run.options.precision
    bf16 = run.plan.bf16 if same else choose_bf16(options.precision, device)
    plan = replace(run.plan, lr=options.lr or run.plan.lr, bf16=bf16)
    kept = replace(run.options, lr=options.lr, precision=options.precision)
    return replace(run, options=kept, plan=plan)


def changed_plan(was: Plan, now: Plan) -> str:
    """What a run goes on with that it did not begin with; empty when nothing is."""
    changes = []
    if was.lr != now.lr:
        changes.append(f"a learning rate of {now.lr:g} (it was {was.lr:g})")
    if was.bf16 != now.bf16:
        names = {True: "bf16", False: "fp32"}
        changes.append(f"{names[now.bf16]} (it was {names[was.bf16]})")
    return " and ".join(changes)


def _spelled(value: Any) -> str:
    """An option's value as it is typed."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def versions() -> dict[str, str]:
    """What the bits of a result depend on beside the options."""
    return {
        "chatgpt2": chatgpt2.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": str(torch.get_num_threads()),
    }


def changed_versions(run: Run) -> str:
    """What is not as it was when the run began; empty when all is: only then it goes on exactly."""
    now = versions()
    return ", ".join(
        f"{name} {was} (now {now.get(name)})" for name, was in run.versions.items() if was != now.get(name)
    )
