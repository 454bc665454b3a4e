"""An observer for tests."""

from __future__ import annotations

from chatgpt2.evaluation import Measured
from chatgpt2.training.plan import Plan
from chatgpt2.training.watch import Progress, Sample


class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.plan: Plan | None = None
        self.steps: list[Progress] = []
        self.evaluations: list[tuple[int, Measured | None, list[Sample]]] = []
        self.ended = False

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def begin(self, plan: Plan, step: int) -> None:
        self.plan = plan

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)

    def evaluated(self, step: int, held_out: Measured | None, samples: list[Sample]) -> None:
        self.evaluations.append((step, held_out, samples))

    def end(self) -> None:
        self.ended = True


class Unplugged(Recorder):
    """An observer during whose run the power fails after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.last = step

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        if progress.step == self.last:
            raise KeyboardInterrupt
