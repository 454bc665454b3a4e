"""What a model says where people said something too: prompts from held-out dialogues, and figures."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chatgpt2.dialogue import Dialogue
from chatgpt2.evaluation import (
    Figure,
    bleu,
    distinct,
    echo,
    entropy,
    is_dull,
    jackknife,
    mean,
    repetition,
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A dialogue up to a message of the user, and what was answered."""

    dialogue: Dialogue
    reference: str


def choose_prompts(dialogues: Iterable[Dialogue], count: int, seed: int = 0) -> list[Prompt]:
    """`count` different prompts, each the last answer of a dialogue and what came before it.

    Which ones depends on the seed and on what they say, not on their order. Memory: `count` dialogues.
    """
    kept: list[tuple[int, Prompt]] = []
    seen: set[int] = set()
    for dialogue in dialogues if count else ():
        if (prompt := last_answer(dialogue)) is None:
            continue
        number = -_number(prompt, seed)  # the largest of these are the smallest numbers
        if number in seen or (len(kept) == count and number < kept[0][0]):
            continue
        seen.add(number)
        item = (number, prompt)
        if len(kept) < count:
            heapq.heappush(kept, item)
        else:
            seen.discard(heapq.heapreplace(kept, item)[0])
    return [prompt for _, prompt in sorted(kept, key=lambda item: -item[0])]


def last_answer(dialogue: Dialogue) -> Prompt | None:
    """The last turn of the bot that follows one of the user."""
    turns = dialogue.turns
    for end in range(len(turns) - 1, 0, -1):
        if turns[end].role == "bot" and turns[end - 1].role == "user":
            return Prompt(Dialogue(turns[:end]), turns[end].text)
    return None


def _number(prompt: Prompt, seed: int) -> int:
    said = "\0".join(turn.text for turn in prompt.dialogue.turns).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(said, digest_size=8, salt=seed.to_bytes(8, "big")).digest(), "big")


def people_figures(prompts: Sequence[Prompt], seed: int = 0) -> dict[str, Figure]:
    """The figures of what people answered, for comparison."""
    return _figures(prompts, [prompt.reference for prompt in prompts], seed)


def reply_figures(prompts: Sequence[Prompt], replies: Sequence[str], seed: int = 0) -> dict[str, Figure]:
    """Figures of the replies to `prompts`; shares are 0 to 1, BLEU 0 to 100, lengths in characters."""
    references = [prompt.reference for prompt in prompts]
    return _figures(prompts, replies, seed) | {f"bleu_{n}": bleu(replies, references, n) for n in (2, 4)}


def _figures(prompts: Sequence[Prompt], replies: Sequence[str], seed: int) -> dict[str, Figure]:
    said = [prompt.dialogue.turns[-1].text for prompt in prompts]
    echoes = [echo(message, reply) for message, reply in zip(said, replies, strict=True)]
    return {
        "distinct_1": jackknife(replies, lambda some: distinct(some, 1), seed),
        "distinct_2": jackknife(replies, lambda some: distinct(some, 2), seed),
        "entropy_4": jackknife(replies, lambda some: entropy(some, 4), seed),
        "repetition": mean([repetition([reply]) for reply in replies], seed=seed),
        "length": mean([float(len(reply)) for reply in replies], seed=seed),
        "dull": mean([float(is_dull(reply)) for reply in replies], seed=seed),
        "echo": mean(echoes, seed=seed),
    }
