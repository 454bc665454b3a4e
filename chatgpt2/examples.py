"""Training sequences: ids, and which of them are learned."""

from __future__ import annotations

from dataclasses import dataclass

from chatgpt2.wordpiece import Bool, Int32, Int64


@dataclass(frozen=True, slots=True)
class Example:
    """A training sequence. `learn[i]` says whether ids[i] is to be predicted from ids[:i]."""

    ids: list[int]
    learn: list[bool]


@dataclass(frozen=True, slots=True)
class Examples:
    """Many examples in flat arrays."""

    ids: Int32  # [tokens]
    learn: Bool  # [tokens]
    offsets: Int64  # [examples + 1] where each begins
    dialogue: Int64  # [examples] index of the dialogue it was cut from
    characters: Int32  # [examples] in the turns to be learned
    split: int  # dialogues that became several examples
    cut: int  # turns longer than the window, whose end is lost

    def __len__(self) -> int:
        return len(self.dialogue)

    def __getitem__(self, index: int) -> Example:
        here = slice(self.offsets[index], self.offsets[index + 1])
        return Example(self.ids[here].tolist(), self.learn[here].tolist())
