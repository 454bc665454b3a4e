"""The openvino engine's process, which takes its time and says nothing before it must: first tokens and ends."""

from __future__ import annotations

import time

from chatgpt2.engine import pipeline


class Gathering(pipeline.Replies):
    between = 3600.0

    def step(self) -> list[int]:
        time.sleep(0.02)
        return super().step()


if __name__ == "__main__":
    pipeline.Replies = Gathering  # type: ignore[misc]
    pipeline.main()
