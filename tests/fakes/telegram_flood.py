"""Telegram's flood control, by a clock of its own: one message a second in a chat, 20 a minute in a group, 30 calls a
second in all. Edits are messages; drafts and "is typing" count among all calls only."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from math import ceil

MESSAGES = {"sendMessage", "editMessageText", "editMessageReplyMarkup"}
COUNTED = {*MESSAGES, "sendMessageDraft", "sendChatAction"}


class Flood:
    """`burst`: messages that a private chat takes at once. `refused`: how often a pause was asked for."""

    def __init__(self, clock: Callable[[], float], burst: int = 3) -> None:
        self._clock, self._burst = clock, burst
        self._taken: dict[int | None, deque[float]] = defaultdict(deque)
        self.refused = 0

    def pause(self, method: str, chat: int, *, private: bool) -> int:
        """Seconds that the bot has to wait; 0: the call is taken, and counted."""
        limits: dict[int | None, tuple[int, float]] = {None: (30, 1.0)}
        if method in MESSAGES:
            limits[chat] = (self._burst, float(self._burst)) if private else (20, 60.0)
        now = self._clock()
        waits = [self._wait(whose, most, seconds, now) for whose, (most, seconds) in limits.items()]
        if max(waits) > 0:
            self.refused += 1
            return max(1, ceil(max(waits)))
        for whose in limits:
            self._taken[whose].append(now)
        return 0

    def _wait(self, whose: int | None, most: int, seconds: float, now: float) -> float:
        taken = self._taken[whose]
        while taken and taken[0] <= now - seconds:
            taken.popleft()
        return taken[0] + seconds - now if len(taken) >= most else 0.0
