"""Figures of models that judge texts agree with scikit-learn's."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn import metrics

from chatgpt2.evaluation import Fitted, Judged


def judged(true: list[int], answered: list[int], labels: tuple[str, ...]) -> Judged:
    table = metrics.confusion_matrix(true, answered, labels=range(len(labels)))
    return Judged(0.5, labels, tuple(map(tuple, table.tolist())))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_accuracy_and_f1_are_those_of_scikit_learn(classes: int) -> None:
    rng = random.Random(classes)
    true = [rng.randrange(classes) for _ in range(60)]
    answered = [each if rng.random() < 0.6 else rng.randrange(classes) for each in true]
    found = judged(true, answered, tuple(map(str, range(classes))))
    assert found.texts == 60
    assert found.accuracy == pytest.approx(metrics.accuracy_score(true, answered))
    assert found.f1 == pytest.approx(metrics.f1_score(true, answered, average="macro"))
    each = metrics.precision_recall_fscore_support(true, answered, zero_division=0)
    ours = [(one.precision, one.recall, one.f1, one.texts) for one in found.classes]
    np.testing.assert_allclose(ours, np.array(each).T)


def test_a_class_that_is_never_answered_counts_with_nothing_and_one_that_is_nowhere_not_at_all() -> None:
    true, answered = [0, 0, 1, 1], [0, 0, 0, 0]
    found = judged(true, answered, ("a", "b", "c"))
    assert found.f1 == pytest.approx(metrics.f1_score(true, answered, average="macro", zero_division=0))
    assert found.classes[1].f1 == found.classes[2].f1 == 0


def test_the_matrix_is_shown_in_columns_that_stand_under_each_other() -> None:
    found = judged([0, 0, 1], [0, 1, 1], ("好", "bad"))
    assert found.headline == ("accuracy", "66.7%")
    assert found.lines[0].startswith("accuracy 66.67%, F1 0.6667")
    assert list(found.lines[2:]) == ["       好  bad", "   好   1    1", "  bad   0    1"]
    many = Judged(0.5, tuple(map(str, range(20))), tuple((1,) * 20 for _ in range(20)))
    assert len(many.lines) == 1


def test_a_number_is_told_with_its_error() -> None:
    found = Fitted(4.0, 1.5, 0.25, 0.5, 10)
    assert found.lines[0].startswith("mean absolute error 1.5000, root mean square 2.0000, R² 0.2500")
    assert found.headline == ("R²", "0.250")
