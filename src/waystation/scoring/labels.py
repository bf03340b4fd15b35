"""Any number of labels for a text: F1 of labels, and how good a ranking of them is. Pure functions; points, 0–100.

Rankings are judged as in Chalkidis et al. 2019 (EURLEX57K): means over the texts that have a label in the reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

RANKED = 10
"""How many of the likeliest labels a prediction keeps: the largest K of a metric."""

SET_COUNTS = ("tp", "predicted", "gold")
"""Stored counts of one text: labels predicted rightly, predicted, in the reference."""

Labels = Sequence[str]


class Ranked(list[str]):
    """The labels predicted for a text, likeliest first; ``ranking``: the ``RANKED`` likeliest, predicted or not."""

    def __init__(self, labels: Iterable[str] = (), ranking: Iterable[str] = ()) -> None:
        super().__init__(labels)
        self.ranking = list(ranking)


def counts(gold: Labels, pred: Labels) -> list[int]:
    """``SET_COUNTS`` of one text."""
    return [len({*gold} & {*pred}), len({*pred}), len({*gold})]


def micro_f1(golds: Sequence[Labels], preds: Sequence[Labels], none: bool = False) -> float:
    """F1 of labels over a corpus; with ``none``, to have no label counts as one more label (LexGLUE)."""
    return _f1(*(counter.total() for counter in _counted(golds, preds, none)))


def macro_f1(golds: Sequence[Labels], preds: Sequence[Labels], labels: Labels, none: bool = False) -> float:
    """Mean F1 of all ``labels``, 0 for one that occurs nowhere; ``none`` as in ``micro_f1``."""
    right, predicted, wanted = _counted(golds, preds, none)
    each = [_f1(right[label], predicted[label], wanted[label]) for label in [*labels, *([_NONE] if none else [])]]
    return sum(each) / len(each) if each else 0.0


def label_f1(golds: Sequence[Labels], preds: Sequence[Labels], label: str) -> float:
    """F1 of one label."""
    return _f1(*(counter[label] for counter in _counted(golds, preds, False)))


def r_precision(golds: Sequence[Labels], rankings: Sequence[Labels], k: int) -> float:
    """R-Precision@K: right labels among the first ``k``, as a share of ``k`` or, where fewer, of the reference's."""
    pairs = [(gold, ranking) for gold, ranking in zip(golds, rankings, strict=True) if gold]
    each = [len({*gold} & {*ranking[:k]}) / min(k, len(gold)) for gold, ranking in pairs]
    return 100.0 * sum(each) / len(each) if each else 0.0


def ndcg(golds: Sequence[Labels], rankings: Sequence[Labels], k: int) -> float:
    """nDCG@K: 1 / log2(1 + place) for each right label among the first ``k``, as a share of the most there could be."""
    worth = 1 / np.log2(1 + np.arange(1, k + 1))
    pairs = [(gold, ranking[:k]) for gold, ranking in zip(golds, rankings, strict=True) if gold]
    each = [
        sum(worth[place] for place, label in enumerate(ranking) if label in gold) / worth[: len(gold)].sum()
        for gold, ranking in pairs
    ]
    return 100.0 * float(sum(each)) / len(each) if each else 0.0


_NONE = ""
"""Stands for having no label."""


def _counted(golds: Sequence[Labels], preds: Sequence[Labels], none: bool) -> tuple[Counter[str], ...]:
    """How often each label is predicted rightly, predicted, in the reference."""
    right, predicted, wanted = Counter[str](), Counter[str](), Counter[str]()
    empty = {_NONE} if none else set[str]()
    for gold, pred in zip(golds, preds, strict=True):
        one, other = {*gold} or empty, {*pred} or empty
        right.update(one & other)
        predicted.update(other)
        wanted.update(one)
    return right, predicted, wanted


def _f1(right: int, predicted: int, wanted: int) -> float:
    return 200.0 * right / (predicted + wanted) if predicted + wanted else 0.0
