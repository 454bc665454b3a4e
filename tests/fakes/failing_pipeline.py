"""The openvino engine's process with a step that fails as soon as twelve long replies are in the making.

Until then these get their first token and no more, so that a test knows who is there when it happens. Short replies
are made when there are no long ones.
"""

from __future__ import annotations

import time

from chatgpt2.engine import pipeline
from chatgpt2.engine.messages import Add, Command, Drop, Setup

SHORT = 5


class Failing(pipeline.Replies):
    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.long: set[int] = set()

    def do(self, command: Command) -> None:
        if isinstance(command, Add) and command.limit > SHORT:
            self.long.add(command.reply)
        elif isinstance(command, Drop):
            self.long.discard(command.reply)
        super().do(command)

    def step(self) -> list[int]:
        if len(self.long) >= 12:
            raise RuntimeError("Check failed\nat src/somewhere.cpp")
        if self.long and all(reply.begun for reply in self._replies.values()):
            time.sleep(0.001)
            return []
        return super().step()


if __name__ == "__main__":
    pipeline.Replies = Failing  # type: ignore[misc]
    pipeline.main()
