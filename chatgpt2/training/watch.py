"""Watching a run: what an observer is told, the metrics file, Ctrl-C."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from transformers import TrainerCallback

from chatgpt2.evaluation import Measured
from chatgpt2.training.curve import read_metrics
from chatgpt2.training.machine import memory_used
from chatgpt2.training.plan import Plan

if TYPE_CHECKING:
    from chatgpt2.training.trainer import TextTrainer


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the log. `tokens_per_second` counts no padding; times are seconds, memory is bytes."""

    step: int
    loss: float
    lr: float
    tokens_per_second: float
    seconds_left: float
    memory: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A held-out prompt and what the model says to it now."""

    prompt: str
    reply: str


class Observer(Protocol):
    """Whoever shows the run to a person."""

    def notice(self, text: str) -> None:
        """Something worth a line: a file passed over, what is being done now."""

    def begin(self, plan: Plan, step: int) -> None:
        """Training begins at `step` (above 0: resumed)."""

    def progress(self, progress: Progress) -> None:
        """Some steps are done."""

    def evaluated(self, step: int, held_out: Measured | None, samples: list[Sample]) -> None:
        """The model was evaluated after `step`."""

    def end(self) -> None:
        """Training is over, however it ended."""


class Watch(TrainerCallback):
    """Tells the observer, writes metrics.jsonl, stops on Ctrl-C after the step that runs."""

    def __init__(self, trainer: TextTrainer, observer: Observer, metrics: Path, sampler: Any) -> None:
        self.trainer, self.observer, self.metrics, self.sampler = trainer, observer, metrics, sampler
        self.recent: deque[tuple[float, int]] = deque(maxlen=50)
        self.began = 0.0
        self.tokens_before = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cut what was logged after the step that a resumed run starts from."""
        if state.is_world_process_zero:
            _cut_metrics(self.metrics, state.global_step)
        self.observer.begin(self.trainer.plan, state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the step's clock, so that evaluations and saves do not count as training time."""
        self.began = time.perf_counter()
        self.tokens_before = self.trainer.tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop its clock; leave if asked to. What is to be looked at or kept must be sound."""
        seconds = time.perf_counter() - self.began
        self.trainer.seconds += seconds
        self.recent.append((seconds, self.trainer.tokens_seen - self.tokens_before))
        if self.trainer.stopping:
            control.should_save = True
            control.should_training_stop = True
        if control.should_save or control.should_evaluate:
            self.trainer.check()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kw: Any
    ) -> None:
        """Tell the observer of a step's loss."""
        logs = dict(logs or {})
        loss = logs.get("loss")
        if "eval_loss" in logs:
            self._write(state, logs)
        if loss is None:
            return
        seconds, tokens = (sum(column) for column in zip(*self.recent, strict=True))
        rate = tokens / seconds if seconds else 0.0
        left = (self.trainer.plan.steps - state.global_step) * seconds / max(1, len(self.recent))
        shown = Progress(state.global_step, loss, logs.get("learning_rate", 0.0), rate, left, memory_used())
        self._write(state, {**logs, "tokens_per_second": round(rate, 1)})
        if state.is_world_process_zero:
            self.observer.progress(shown)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the held-out figures and a few replies."""
        if state.is_world_process_zero and self.trainer.last_held_out:
            self.observer.evaluated(state.global_step, self.trainer.last_held_out[1], self.sampler())

    def _write(self, state: Any, record: dict[str, Any]) -> None:
        if not state.is_world_process_zero:
            return
        line = {"step": state.global_step, **{k: v for k, v in record.items() if k != "epoch"}}
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _cut_metrics(path: Path, step: int) -> None:
    kept = [json.dumps(record) + "\n" for record in read_metrics(path) if record["step"] <= step]
    path.write_text("".join(kept) if step else "", encoding="utf-8")


class Interruptible:
    """While it is entered, the first Ctrl-C (or SIGTERM) asks the trainer to stop after this step, and a
    second one stops at once."""

    def __init__(self, trainer: TextTrainer, observer: Observer) -> None:
        self.trainer, self.observer = trainer, observer
        self.previous: dict[int, Any] = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.trainer.stop:
            raise KeyboardInterrupt
        self.trainer.stop = True
        self.observer.notice("stopping after this step and saving; Ctrl-C again stops at once")

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self._ask)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
