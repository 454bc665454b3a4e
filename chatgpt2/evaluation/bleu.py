"""BLEU of replies against what people said, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence

from chatgpt2.evaluation.interval import RESAMPLES, Figure


def bleu(replies: Sequence[str], references: Sequence[str], n: int = 4) -> Figure:
    """Corpus BLEU-n, 0 to 100, on Han characters (sacrebleu's `zh`), with its bootstrap interval.

    One reference for an open question says little: most good replies share few n-grams with it.
    """
    from sacrebleu.metrics.bleu import BLEU  # takes half a second

    metric = BLEU(tokenize="zh", max_ngram_order=n)
    resamples = RESAMPLES if len(replies) > 1 else 1
    score = metric.corpus_score(list(replies), [list(references)], n_bootstrap=resamples)
    if resamples == 1:
        return Figure(score.score)
    return Figure(score.score, max(0.0, score._mean - score._ci), min(100.0, score._mean + score._ci))
