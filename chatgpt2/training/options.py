"""The options of a training run, and what they must keep to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from chatgpt2.codec import Learn
from chatgpt2.corpus.texts import Shape
from chatgpt2.errors import ConfigError
from chatgpt2.heads import MODULES, Head
from chatgpt2.hub import Hub

Rule = tuple[str, bool, str]
"""An option, whether its value is good, and what it must be."""


def above(value: float | None, least: float = 0) -> bool:
    """Whether an option was left out, or is above `least`."""
    return value is None or value > least


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to train, whatever is learned. None means: chosen for the data and the machine, see `training.plan`."""

    command: ClassVar[str] = ""
    dropout_of_many: ClassVar[float] = 0.1
    """Where the texts are passed over many times, unless `dropout` is given."""

    out: Path = Path("models/model")
    size: str = "small"
    base: str | None = None
    hub: Hub = "huggingface"
    vocabulary: Path | None = None
    lora: int | None = None
    freeze: int = 0
    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_tokens: int | None = None
    dropout: float | None = None
    optimizer: Literal["muon", "adamw"] = "muon"
    lr: float | None = None
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    min_lr: float = 0.0
    warmup: int | None = None
    eval_every: int | None = None
    patience: int | None = None
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    threads: int | None = None
    report_to: tuple[str, ...] = ()
    save_every: int | None = None
    keep: int = 1
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
        for option, good, rule in (*self._shared_rules(), *self.rules()):
            if not good:
                value = getattr(self, option)
                raise ConfigError(f"--{option.replace('_', '-')} {value}: it must be {rule}")

    @property
    def joined(self) -> float | None:
        """The share of examples that follow another one in a row; None: chosen."""
        return 0.0

    @property
    def new_modules(self) -> tuple[str, ...]:
        """Of a base: what is new in it and learns whole, whatever else does."""
        return ()

    @property
    def frozen(self) -> bool:
        """Whether of a base nothing learns but what is new."""
        return False

    @property
    def usual_lr(self) -> float | None:
        """The peak learning rate when none is given; None: as usual."""
        return None

    def rules(self) -> tuple[Rule, ...]:
        """Those of the options that only one objective has."""
        return ()

    def _shared_rules(self) -> tuple[Rule, ...]:
        return (
            ("epochs", above(self.epochs), "above 0"),
            ("steps", above(self.steps), "1 or more"),
            ("minutes", above(self.minutes), "above 0"),
            ("batch_tokens", above(self.batch_tokens, 7), "8 or more"),
            ("dropout", self.dropout is None or 0 <= self.dropout < 1, "at least 0 and below 1"),
            ("lr", above(self.lr), "above 0"),
            ("min_lr", self.min_lr >= 0 and (self.lr is None or self.min_lr <= self.lr), "0 to --lr"),
            ("warmup", self.warmup is None or self.warmup >= 0, "0 or more"),
            ("eval_every", self.eval_every is None or self.eval_every >= 0, "1 or more (0: only at the end)"),
            ("patience", above(self.patience), "1 or more"),
            ("save_every", above(self.save_every), "1 or more"),
            ("keep", self.keep >= 1, "1 or more"),
            ("lora", above(self.lora), "1 or more"),
            ("freeze", self.freeze >= 0, "0 or more"),
            ("threads", above(self.threads), "1 or more"),
            ("samples", self.samples >= 0, "0 or more"),
        )


@dataclass(frozen=True, slots=True)
class TrainOptions(RunOptions):
    """How to train on dialogues."""

    command: ClassVar[str] = "train-dialog"

    corpus: tuple[Path, ...] = ()
    learn: Learn = "all"
    length: int | None = None
    join: float | None = None
    eval_fraction: float | None = None
    eval_corpus: tuple[Path, ...] = ()
    format: str | None = None
    keep_system: bool = False
    skip_bad: bool = False

    def __post_init__(self) -> None:
        RunOptions.__post_init__(self)
        if self.eval_fraction is not None and self.eval_corpus:
            raise ConfigError("--eval-fraction and --eval-corpus both say what to hold out: give one of them")

    @property
    def joined(self) -> float | None:
        return self.join

    def rules(self) -> tuple[Rule, ...]:
        return (
            ("length", self.length is None or 8 <= self.length <= 8192, "8 to 8192"),
            ("join", self.join is None or 0 <= self.join < 1, "at least 0 and below 1"),
            ("eval_fraction", self.eval_fraction is None or 0 <= self.eval_fraction < 1, "0 to below 1"),
        )


@dataclass(frozen=True, slots=True)
class FileOptions(RunOptions):
    """How to train on texts in files of any kind.

    shape      stream, lines or records, see `corpus.texts`
    field      the column or field that holds the text: a name, or a number from 1 on
    split      percentages to train on, to evaluate on while training, and to test on at the end
    block      tokens of a window of the stream, or of the longest example
    tokenizer  bert, char, bpe, or the directory or hub name of one; None: the base's, else bert
    entries    of a bpe tokenizer that is trained
    """

    paths: tuple[Path, ...] = ()
    shape: Shape = "stream"
    field: str | None = None
    validation: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    split: tuple[float, ...] | None = None
    clean: bool = False
    block: int | None = None
    tokenizer: str | None = None
    entries: int | None = None

    def __post_init__(self) -> None:
        RunOptions.__post_init__(self)
        if self.split is not None and (self.validation or self.test):
            raise ConfigError(
                "--split shares out the texts, --validation and --test name others: give one of them"
            )
        if self.entries is not None and (self.tokenizer != "bpe" or self.base is not None):
            raise ConfigError(
                "--entries is the size of a bpe tokenizer to be trained: it needs --tokenizer bpe, no --base"
            )
        if self.vocabulary is not None and self.tokenizer not in (None, "bert"):
            raise ConfigError(
                f"--vocabulary is BERT's, and --tokenizer {self.tokenizer} has none: leave one out"
            )

    def rules(self) -> tuple[Rule, ...]:
        split = self.split or (100,)
        return (
            ("block", self.block is None or 8 <= self.block <= 8192, "8 to 8192"),
            ("entries", above(self.entries, 299), "300 or more"),
            (
                "split",
                1 <= len(split) <= 3 and min(split) >= 0 and split[0] > 0 and abs(sum(split) - 100) < 0.01,
                "two or three percentages that add up to 100, such as 90-10 or 70-20-10",
            ),
        )


@dataclass(frozen=True, slots=True)
class TextOptions(FileOptions):
    """How to train on texts.

    windows    of a stream: each epoch's begin elsewhere (random), or always at the same places (disjoint)
    bos, eos   what stands before and after each text; None: the tokenizer's own
    """

    command: ClassVar[str] = "train-text"
    # Measured on WikiText (docs/benchmarks.md); of dialogues less, which are to be learned by heart.
    dropout_of_many: ClassVar[float] = 0.2

    windows: Literal["random", "disjoint"] = "random"
    bos: str | None = None
    eos: str | None = None

    def __post_init__(self) -> None:
        FileOptions.__post_init__(self)
        if self.shape == "stream" and (self.bos or self.eos):
            raise ConfigError("--bos and --eos stand around each text: they need --as lines or --as records")


@dataclass(frozen=True, slots=True)
class ClassifierOptions(FileOptions):
    """How to train on labelled texts.

    label            the column or field that holds the label: a name, or a number from 1 on
    head             classification, regression or value: what is said of a text; lm: what comes next, by a new head
    freeze_backbone  learn the head and nothing else
    """

    command: ClassVar[str] = "train-classifier"

    shape: Shape = "lines"
    label: str | None = None
    head: Head = "classification"
    freeze_backbone: bool = False
    skip_bad: bool = False

    def __post_init__(self) -> None:
        FileOptions.__post_init__(self)
        if self.freeze_backbone and self.base is None:
            raise ConfigError("--freeze-backbone keeps what a model has learned: name one with --base")
        if self.freeze_backbone and (self.freeze or self.lora is not None):
            other = "freeze" if self.freeze else "lora"
            raise ConfigError(f"--freeze-backbone leaves nothing for --{other} to do: give one of them")
        if self.head == "lm" and self.base is None:
            raise ConfigError("--head lm is a new head for a trained model: name it with --base")
        if self.head == "lm" and (self.label is not None or self.skip_bad):
            other = "label" if self.label is not None else "skip-bad"
            raise ConfigError(f"--head lm learns from the texts alone: leave --{other} out")

    @property
    def new_modules(self) -> tuple[str, ...]:
        return (MODULES[self.head],)

    @property
    def frozen(self) -> bool:
        return self.freeze_backbone

    @property
    def usual_lr(self) -> float | None:
        return (3e-3 if self.head == "lm" else 1e-2) if self.freeze_backbone else None
