"""When a platform was last heard of, and what has failed since something last worked."""

from __future__ import annotations

from collections.abc import Callable

from chatgpt2.adapter import AdapterError, Health


class Contact:
    """One way to or from a platform: its API, its callbacks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.last: float | None = None
        self.error: str | None = None

    def heard(self) -> None:
        """The platform has said something, be it no."""
        self.last = self._clock()

    def worked(self) -> None:
        """All is well."""
        self.heard()
        self.error = None

    def failed(self, why: Exception | str) -> str:
        """Something went wrong; what, for the log. It is told to everybody, so it holds no secret and no address."""
        plain = isinstance(why, AdapterError | str)
        self.error = str(why) if plain else f"{type(why).__name__}: {why}"
        return self.error


def health_of(*contacts: Contact) -> Health:
    """How an adapter is that has these, and that nobody need call."""
    last = max((each.last for each in contacts if each.last is not None), default=None)
    return Health(last, next((each.error for each in contacts if each.error), None))
