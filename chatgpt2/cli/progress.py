"""How a training run looks: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # torch is not needed to show what it does
    from chatgpt2.evaluation import Measured
    from chatgpt2.training.learn import Result
    from chatgpt2.training.options import RunOptions
    from chatgpt2.training.plan import Plan
    from chatgpt2.training.watch import Progress, Sample

_LINE_EVERY = 10.0  # seconds between lines where there is no terminal


def duration(seconds: float) -> str:
    """Seconds as people say them: 45s, 3m20s, 2h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


class Screen:
    """Shows a run. Implements training.watch.Observer."""

    def __init__(self, options: RunOptions, use: str, *, quiet: bool = False) -> None:
        self.options, self.use = options, use
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.plan: Plan | None = None
        self.held_out: Measured | None = None
        self.latest: Progress | None = None
        self.live: Live | None = None
        self.last_line = -math.inf

    def notice(self, text: str) -> None:
        self.console.print(Text("• ", style="cyan") + Text(text), soft_wrap=True)

    def begin(self, plan: Plan, step: int) -> None:
        self.plan = plan
        precision = "bf16" if plan.bf16 else "fp32"
        again = f", going on after step {step:,}" if step else ""
        self.notice(
            f"{plan.steps:,} steps of {plan.batch_tokens:,} tokens, {self.options.optimizer} at {plan.lr:g}, "
            f"{precision}{again}"
        )
        if self.console.is_terminal and not self.console.quiet:
            self.live = Live(self._panel(), console=self.console, refresh_per_second=4, transient=True)
            self.live.start()

    def progress(self, progress: Progress) -> None:
        self.latest = progress
        if self.live:
            self.live.update(self._panel())
        elif time.monotonic() - self.last_line >= _LINE_EVERY:
            self.last_line = time.monotonic()
            self.console.print(self._line(progress), soft_wrap=True)

    def evaluated(self, step: int, held_out: Measured | None, samples: list[Sample]) -> None:
        self.held_out = held_out
        if held_out:
            self.console.print(
                Text(f"step {step:,}: ", style="bold")
                + Text(f"held-out loss {held_out.loss:.3f}, {' '.join(held_out.headline)}")
            )
        for sample in samples:
            self.console.print(Text(f"  {sample.prompt}", style="dim"), soft_wrap=True)
            self.console.print(Text("  → ", style="green") + Text(sample.reply), soft_wrap=True)

    def end(self) -> None:
        if self.live:
            self.live.update(Text(""))
            self.live.stop()
            self.live = None

    def conclude(self, result: Result[Any]) -> None:
        """What was made, how good it is, what to type next."""
        if not result.finished:
            self.notice(f"stopped after step {result.steps:,}; saved in {result.out}")
            self._next(f"chatgpt2 {self.options.command} --resume --out {result.out}")
            return
        self.notice(
            f"trained {result.steps:,} steps in {duration(result.seconds)}; the model is in {result.out}"
        )
        for name, figures in (("held out", result.held_out), ("test", result.tested)):
            if figures:
                first, *more = figures.lines
                self.notice("\n  ".join((f"{name}: {first}", *more)))
        if "distinct_2" in result.metrics:
            self.notice(
                f"sampled replies: distinct-2 {result.metrics['distinct_2']:.2f}, "
                f"repetition {result.metrics['repetition']:.0%}"
            )
        self.notice(f"loss curve: {result.out / 'loss.png'}; every step: {result.out / 'metrics.jsonl'}")
        self._next(f"{self.use} {result.out}")

    def _next(self, command: str) -> None:
        self.console.print(Text("next: ", style="bold") + Text(command, style="bold green"), soft_wrap=True)

    def _line(self, now: Progress) -> Text:
        assert self.plan is not None
        text = (
            f"step {now.step:,}/{self.plan.steps:,}  loss {now.loss:.3f}  {now.tokens_per_second:,.0f} tokens/s  "
            f"{duration(now.seconds_left)} left  {now.memory / 2**20:,.0f} MB"
        )
        if self.held_out:
            text += f"  held-out {self.held_out.loss:.3f}"
        return Text(text)

    def _panel(self) -> Group:
        assert self.plan is not None
        now = self.latest
        done = now.step if now else 0
        table = Table.grid(padding=(0, 2))
        held = self.held_out
        name, value = held.headline if held else ("", "")
        names = ["step", "loss", "held-out", name, "tokens/s", "left", "memory"]
        values = [
            f"{done:,}/{self.plan.steps:,}",
            f"{now.loss:.3f}" if now else "–",
            f"{held.loss:.3f}" if held else "–",
            value,
            f"{now.tokens_per_second:,.0f}" if now else "–",
            duration(now.seconds_left) if now else "–",
            f"{now.memory / 2**20:,.0f} MB" if now else "–",
        ]
        for _ in names:
            table.add_column(justify="right")
        table.add_row(*(Text(name, style="dim") for name in names))
        table.add_row(*(Text(value, style="bold") for value in values))
        return Group(table, ProgressBar(total=self.plan.steps, completed=done, width=60))


class Meter:
    """Shows work whose size is known: a bar on a terminal, nothing elsewhere. Implements assessment.Watcher."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.live = Live(Text(""), console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Meter:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def notice(self, text: str) -> None:
        self.console.print(Text("• ", style="cyan") + Text(text), soft_wrap=True)

    def step(self, what: str, done: int, total: int) -> None:
        row = Table.grid(padding=(0, 2))
        of = f"/{total:,}" if total else ""
        bar = ProgressBar(total=total, completed=done, width=40) if total else Text("…")
        row.add_row(Text(what, style="dim"), Text(f"{done:,}{of}", style="bold"), bar)
        self.live.update(row)
