"""The options of a training run, and the defaults that depend on the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chatgpt2.codec import Learn
from chatgpt2.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train. None means: chosen for the data and the machine, see `training.plan`."""

    corpus: tuple[Path, ...] = ()
    out: Path = Path("models/model")
    size: str = "small"
    base: str | None = None
    vocabulary: Path | None = None
    lora: int | None = None
    freeze: int = 0
    learn: Learn = "all"
    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_tokens: int | None = None
    length: int | None = None
    dropout: float | None = None
    join: float | None = None
    optimizer: Literal["muon", "adamw"] = "muon"
    lr: float | None = None
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    min_lr: float = 0.0
    warmup: int | None = None
    eval_fraction: float | None = None
    eval_corpus: tuple[Path, ...] = ()
    eval_every: int | None = None
    patience: int | None = None
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    threads: int | None = None
    report_to: tuple[str, ...] = ()
    save_every: int | None = None
    keep: int = 1
    format: str | None = None
    keep_system: bool = False
    skip_bad: bool = False
    samples: int = 3

    def __post_init__(self) -> None:
        lengths = [n for n in ("epochs", "steps", "minutes") if getattr(self, n) is not None]
        if len(lengths) > 1:
            raise ConfigError(
                f"--{lengths[0]} and --{lengths[1]} both say how long to train: give one of them"
            )
        if self.lora is not None and self.base is None:
            raise ConfigError("--lora adapts a trained model: name it with --base")
        if self.base is not None and self.vocabulary is not None:
            raise ConfigError("--vocabulary cannot be given with --base: the base has its own")
        if self.lora is not None and self.freeze:
            raise ConfigError("--freeze cannot be given with --lora: LoRA freezes the whole base")
        if self.patience is not None and self.save_every is not None:
            raise ConfigError("--save-every cannot be given with --patience: each evaluation is saved then")
        if self.patience is not None and self.eval_every == 0:
            raise ConfigError("--patience counts evaluations, and --eval-every 0 has none: give one of them")
        if self.eval_fraction is not None and self.eval_corpus:
            raise ConfigError("--eval-fraction and --eval-corpus both say what to hold out: give one of them")
        for option, good, rule in self._rules():
            if not good:
                value = getattr(self, option)
                raise ConfigError(f"--{option.replace('_', '-')} {value}: it must be {rule}")

    def _rules(self) -> tuple[tuple[str, bool, str], ...]:
        def above(value: float | None, least: float = 0) -> bool:
            return value is None or value > least

        return (
            ("epochs", above(self.epochs), "above 0"),
            ("steps", above(self.steps), "1 or more"),
            ("minutes", above(self.minutes), "above 0"),
            ("batch_tokens", above(self.batch_tokens, 7), "8 or more"),
            ("length", self.length is None or 8 <= self.length <= 8192, "8 to 8192"),
            ("dropout", self.dropout is None or 0 <= self.dropout < 1, "at least 0 and below 1"),
            ("join", self.join is None or 0 <= self.join < 1, "at least 0 and below 1"),
            ("lr", above(self.lr), "above 0"),
            ("min_lr", self.min_lr >= 0 and (self.lr is None or self.min_lr <= self.lr), "0 to --lr"),
            ("warmup", self.warmup is None or self.warmup >= 0, "0 or more"),
            ("eval_fraction", self.eval_fraction is None or 0 <= self.eval_fraction < 1, "0 to below 1"),
            ("eval_every", self.eval_every is None or self.eval_every >= 0, "1 or more (0: only at the end)"),
            ("patience", above(self.patience), "1 or more"),
            ("save_every", above(self.save_every), "1 or more"),
            ("keep", self.keep >= 1, "1 or more"),
            ("lora", above(self.lora), "1 or more"),
            ("freeze", self.freeze >= 0, "0 or more"),
            ("threads", above(self.threads), "1 or more"),
            ("samples", self.samples >= 0, "0 or more"),
        )
