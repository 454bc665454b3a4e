"""The model that answers now, and exchanging it while replies are running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from chatgpt2.dialogue import Dialogue, Turn
from chatgpt2.engine.base import Engine, SamplingParams
from chatgpt2.errors import ConfigError

_SMALLEST_ROOM = 4  # tokens: [CLS], a word, [SEP]


class Decoder(Protocol):
    """Ids of one reply in, whole characters out."""

    def push(self, ids: Iterable[int]) -> str: ...
    def finish(self) -> str: ...


class ChatCodec(Protocol):
    """What a codec must do to be talked through."""

    @property
    def window(self) -> int: ...
    @property
    def stop_ids(self) -> tuple[int, ...]: ...
    @property
    def banned_ids(self) -> tuple[int, ...]: ...
    @property
    def vocabulary(self) -> Sequence[str]: ...
    def prompt(self, dialogue: Dialogue, room: int, opening: Sequence[Turn] = ()) -> list[int]: ...
    def begin(self, text: str) -> list[int]: ...
    def decoder(self) -> Decoder: ...


@dataclass(frozen=True, slots=True, eq=False)
class Serving:
    """A model that answers, and what its replies need.

    defaults  sampling where nobody says otherwise
    opening   turns set before every prompt (a persona); they are not part of the record
    name      which model this is, for the record
    kind      which engine it is: openvino, pytorch, remote
    source    the directory it was loaded from, which also tells of its training
    """

    engine: Engine
    codec: ChatCodec
    defaults: SamplingParams = field(default_factory=SamplingParams)
    opening: tuple[Turn, ...] = ()
    name: str | None = None
    kind: str | None = None
    source: Path | None = None

    def room(self, params: SamplingParams) -> int:
        """Tokens that a prompt may have. Raises ConfigError when the reply would leave none."""
        room = self.codec.window - params.max_new_tokens
        if room < _SMALLEST_ROOM:
            most = self.codec.window - _SMALLEST_ROOM
            raise ConfigError(
                f"max_new_tokens is {params.max_new_tokens}: this model's window allows {most} at most."
            )
        return room


class Exchangeable:
    """Who answers: new replies come from the latest model, running ones end on the one they began with.

    running  how many replies each model has in the making
    """

    def __init__(self, serving: Serving) -> None:
        self.current = serving
        self.running: Counter[Serving] = Counter()
        self._wrap: Callable[[Engine], Engine] = lambda engine: engine

    def measure(self, wrap: Callable[[Engine], Engine]) -> None:
        """Let `wrap` stand around the engine, and around those that come. Before the first reply only."""
        self._wrap = wrap
        self.current = replace(self.current, engine=wrap(self.current.engine))

    def lease(self) -> _Lease:
        """The model for one reply, a context. The last reply of a model that was exchanged frees its memory."""
        return _Lease(self)

    async def exchange(self, serving: Serving) -> None:
        """Let `serving` answer from now on."""
        old, self.current = self.current, replace(serving, engine=self._wrap(serving.engine))
        await self.free(old)

    async def free(self, serving: Serving) -> None:
        """Close its engine, if nothing needs it any more."""
        if self.running[serving]:
            return
        del self.running[serving]
        if serving is not self.current:
            await serving.engine.close()


class _Lease:
    __slots__ = ("_models", "_serving")

    def __init__(self, models: Exchangeable) -> None:
        self._models, self._serving = models, models.current

    async def __aenter__(self) -> Serving:
        self._serving = self._models.current
        self._models.running[self._serving] += 1
        return self._serving

    async def __aexit__(self, *error: object) -> None:
        self._models.running[self._serving] -= 1
        await self._models.free(self._serving)
