"""How good a model is: figures from its loss on held-out text, and from what it says."""

from chatgpt2.evaluation.answering import generate_replies
from chatgpt2.evaluation.bleu import bleu
from chatgpt2.evaluation.figures import (
    HeldOut,
    distinct,
    echo,
    entropy,
    is_dull,
    ngrams,
    perplexity,
    perplexity_per_character,
    repetition,
)
from chatgpt2.evaluation.interval import Figure, jackknife, mean, ratio
from chatgpt2.evaluation.judged import Fitted, Judged
from chatgpt2.evaluation.measured import Measured

__all__ = [
    "Figure",
    "Fitted",
    "HeldOut",
    "Judged",
    "Measured",
    "bleu",
    "distinct",
    "echo",
    "entropy",
    "generate_replies",
    "is_dull",
    "jackknife",
    "mean",
    "ngrams",
    "perplexity",
    "perplexity_per_character",
    "ratio",
    "repetition",
]
