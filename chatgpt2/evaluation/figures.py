"""Figures from a model's loss on held-out text, and from what it says. Everything here is pure.

N-grams are of characters: what is a word in Chinese is another program's opinion.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chatgpt2.errors import ConfigError

# What fits any message. Compared without punctuation, particles at the end and repeated characters.
DULL = frozenset(
    """
    嗯 哦 噢 喔 啊 呵 哈 嘿 额 呃 对 是 好 行 可以 不 没 没有 不是 不行 不会 知道 我知道 不知道
    我不知道 我也不知道 不懂 我不懂 我也是 我也 是的 对的 好的 没事 没关系 谢谢 谢谢你 不客气 什么
    什么意思 怎么 怎么了 为什么 真的 是吗 真的吗 这样 那好 就是 当然 随便
    我也觉得 我觉得 我也这么觉得 可能 也许 不一定 再说 晚安 加油 好吧
    """.split()  # noqa: SIM905 (a list would be sixty lines)
)
_PARTICLES = "啊呀呢吧哦噢嘛哈啦了呵嘿的吗"


def perplexity(nll_per_token: float) -> float:
    """exp(nll per token): among how many equally likely tokens the model hesitates.

    Comparable only between models of one vocabulary.
    """
    try:
        return math.exp(nll_per_token)
    except OverflowError:
        return math.inf


def perplexity_per_character(nll_sum: float, characters: int) -> float:
    """exp(nll_sum / characters), comparable between vocabularies.

    `nll_sum` is the natural-log loss of all labelled tokens of the text, the ends of turns included, which a
    model has to predict as well; `characters` counts those of the text without special tokens.
    """
    if characters <= 0:
        raise ConfigError("the held-out text has no characters: nothing can be evaluated")
    return perplexity(nll_sum / characters)


def ngrams(text: str, n: int) -> list[str]:
    """The character n-grams of a text, in order."""
    return [text[start : start + n] for start in range(len(text) - n + 1)]


def distinct(replies: Sequence[str], n: int = 2) -> float:
    """Distinct-n on characters (arXiv:1510.03055): different n-grams as a share of all, over all replies."""
    found = [gram for reply in replies for gram in ngrams(reply, n)]
    return len(set(found)) / len(found) if found else 0.0


def repetition(replies: Sequence[str], n: int = 4) -> float:
    """The share of replies in which some character n-gram comes more than once."""
    repeating = sum(len(set(grams)) < len(grams) for grams in (ngrams(reply, n) for reply in replies))
    return repeating / len(replies) if replies else 0.0


def entropy(replies: Sequence[str], n: int = 4) -> float:
    """Entropy-n (arXiv:1809.05972): nats of the distribution of character n-grams over all replies.

    Unlike distinct-n it tells a few rare n-grams among many common ones from an even use of all. Both grow with
    the number of replies: compare equal numbers only.
    """
    counts = Counter(gram for reply in replies for gram in ngrams(reply, n))
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values()) if total else 0.0


def is_dull(reply: str) -> bool:
    """Whether the reply would fit any message: nothing but fillers, or one of `DULL`."""
    letters = "".join(char for char in reply if unicodedata.category(char)[0] not in "PSZC")
    letters = re.sub(r"(.)\1+", r"\1", letters)
    return letters in DULL or letters.rstrip(_PARTICLES) in DULL or not letters.strip(_PARTICLES)


def echo(message: str, reply: str) -> float:
    """The share of the reply's character bigrams that the message has too (one character: that character)."""
    n = min(2, len(reply))
    grams, heard = ngrams(reply, n), set(ngrams(message, n))
    return sum(gram in heard for gram in grams) / len(grams) if n else 0.0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a model makes of text it has not learned from."""

    loss: float  # nats per labelled token
    tokens: int  # labelled tokens
    characters: int
    perplexity: float
    perplexity_per_character: float

    @classmethod
    def of(cls, nll_sum: float, tokens: int, characters: int) -> HeldOut:
        """From the summed loss of `tokens` labelled tokens that spell `characters` characters."""
        if tokens <= 0:
            raise ConfigError("the held-out text has no tokens to predict: nothing can be evaluated")
        loss = nll_sum / tokens
        return cls(loss, tokens, characters, perplexity(loss), perplexity_per_character(nll_sum, characters))

    @property
    def metrics(self) -> dict[str, float]:
        """The figures by name, see `Measured`."""
        names = ("loss", "perplexity", "perplexity_per_character")
        return {name: getattr(self, name) for name in names}

    @property
    def headline(self) -> tuple[str, str]:
        """See `Measured`."""
        return "perplexity", f"{self.perplexity:.1f}"

    @property
    def lines(self) -> Sequence[str]:
        """See `Measured`."""
        return (
            f"loss {self.loss:.4f} per token, perplexity {self.perplexity_per_character:.2f} per character",
        )
