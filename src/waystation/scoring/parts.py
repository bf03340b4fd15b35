"""What each example puts into a metric, so that statistics can be done on it without scoring again.

Every metric here is a mean over classes of ratios of sums over examples: accuracy has one class and counts examples
below the line, corpus F1 has one class and 2·tp over predicted + reference, macro F1 a class for each label. From
these parts come the score itself, the score of any weighting of the examples (a bootstrap), the scores without each
example (a jackknife) and influence values (Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.scoring import answers, labels, metrics, tallies
from waystation.scoring.labels import Ranked
from waystation.scoring.tallies import Tallies

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """The parts of N ``examples``: score = 100 · mean over classes c of Σ above / Σ below, over the rows of class c.

    Row m belongs to ``example[m]`` and class ``label[m]``, int64 [M], and adds ``above[m]`` and ``below[m]``, float64
    [M]; an example has at most one row in a class. ``classes``: their names, "" where there is but one. A class with
    nothing below counts as 0 if ``every`` class counts, else it is left out.
    """

    examples: int
    classes: tuple[str, ...]
    example: Ints
    label: Ints
    above: Floats
    below: Floats
    every: bool = True

    def score(self, weights: npt.ArrayLike | None = None) -> Any:
        """The metric in points; with ``weights`` [..., N] ≥ 0, how often each example counts: float64 [...]."""
        table = np.ones(self.examples) if weights is None else np.asarray(weights, np.float64)
        if table.shape[-1:] != (self.examples,):
            raise InputError(f"weights of shape {list(table.shape)} for {self.examples} examples; give one for each")
        found = [self._mean(*self._sums(row)) for row in table.reshape(math.prod(table.shape[:-1]), self.examples)]
        return np.array(found).reshape(table.shape[:-1]) if table.ndim > 1 else found[0]

    def influence(self) -> Floats:
        """By how much the score moves per unit of an example's share of the corpus: float64 [N], points, mean 0.

        The first-order (infinitesimal jackknife) values: with examples drawn independently, the variance of the score
        is near Σ influence² / N².
        """
        above, below = self._sums(np.ones(self.examples))
        ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        counted = len(below) if self.every else np.count_nonzero(below)
        some = below[self.label] > 0
        label = self.label[some]
        each = (self.above[some] - ratio[label] * self.below[some]) / below[label]
        moved = np.bincount(self.example[some], each, self.examples).astype(np.float64)
        return moved * (100 * self.examples / max(1, counted))

    def without_each(self) -> Floats:
        """The score of the other examples, for each that is left out: float64 [N], points, exact."""
        above, below = self._sums(np.ones(self.examples))
        ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        left = below[self.label] - self.below
        empty = left <= _NOTHING * below[self.label]
        changed = np.divide(above[self.label] - self.above, left, out=np.zeros_like(left), where=~empty)
        total: Floats = ratio.sum() + np.bincount(self.example, changed - ratio[self.label], self.examples)
        counted = np.full(self.examples, len(below))
        if not self.every:
            gone = np.bincount(self.example, empty & (below[self.label] > 0), self.examples)
            counted = np.count_nonzero(below) - gone
        points: Floats = np.divide(100 * total, counted, out=np.zeros_like(total), where=counted > 0)
        return points

    def _sums(self, weights: Floats) -> tuple[Floats, Floats]:
        weight, size = weights[self.example], len(self.classes)
        above, below = (np.bincount(self.label, weight * part, size) for part in (self.above, self.below))
        return above.astype(np.float64), below.astype(np.float64)  # numpy's are integers where there are no rows

    def _mean(self, above: Floats, below: Floats) -> float:
        ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        counted = len(below) if self.every else np.count_nonzero(below)
        return float(100 * ratio.sum() / counted) if counted else 0.0


_NOTHING = 1e-12
"""What is left of a sum, as a share of it, when all of it was taken away."""


def parts(
    name: str,
    golds: Sequence[Any],
    preds: Sequence[Any],
    language: str | None = None,
    among: Sequence[str] | None = None,
) -> Parts:
    """The parts of a metric over a corpus in one language; arguments and errors as in ``metrics.score``.

    Its score is ``metrics.score``'s. The example of a run of equal tags (``pos_f1_xtreme``) is the sentence it ends in.
    """
    if len(golds) != len(preds):
        raise InputError(f"{len(preds)} predictions for {len(golds)} examples; there must be one for each")
    metrics.score([name], golds[:1], preds[:1], language, among)  # refuses what does not fit
    base, _, argument = metrics.split(name)
    if base in _OF_EXAMPLES:
        above, below = _each(base, golds, preds, language, argument)
        return _ratio(above, below)
    counted = tally(name, golds, preds)
    if base.startswith("macro_f1"):
        declared = base == "macro_f1_all" or bool(len(preds) and isinstance(preds[0], Ranked))
        if declared:
            counted = counted.over([*(among or ()), *([_NONE] if base.endswith("_none") else [])])
        return _f1(counted, every=declared)
    return _f1(counted.only(argument) if argument else counted.together())


def from_counts(name: str, counts: npt.ArrayLike) -> Parts:
    """The parts of a metric that stored counts [N, k] give, those of ``metrics.from_counts``."""
    table = np.asarray(counts, np.float64)
    if not len(table):
        return _ratio(np.zeros(0), np.zeros(0))
    ones = np.ones(len(table))
    match name:
        case "entity_f1" | "mining_f1" | "micro_f1":
            return _ratio(2 * table[:, 0], table[:, 1] + table[:, 2])
        case "token_accuracy":
            return _ratio(table[:, 3], table[:, 4])
        case "answer_f1":
            return _ratio(answers.each_f1(table), ones)
        case "exact_match" | "accuracy" | "retrieval_accuracy":
            return _ratio(table[:, 0], ones)
    raise InputError(f"metric '{name}' cannot be computed from stored counts; use parts")


def tally(name: str, golds: Sequence[Any], preds: Sequence[Any]) -> Tallies:
    """Counts by example and label behind an F1; a ``f1:LABEL`` or a macro average has those of all labels that occur.

    Raises InputError for a metric that is no F1 of labels, entities or runs of tags.
    """
    base = metrics.split(name)[0]
    if base in ("entity_f1", "entity_f1_strict"):
        return tallies.of_entities(golds, preds, strict=base.endswith("strict"))
    if base in metrics.POS_VERSIONS:
        return tallies.of_runs(golds, preds, metrics.POS_VERSIONS[base])
    if base.removesuffix("_none") not in ("micro_f1", "macro_f1", "macro_f1_all", "f1"):
        raise InputError(f"metric '{name}' has no counts by label; ask for its parts")
    if len(golds) and isinstance(golds[0], str):
        return tallies.of_labels(golds, preds)
    if base.endswith("_none"):
        golds, preds = ([list(labels) or [_NONE] for labels in corpus] for corpus in (golds, preds))
    return tallies.of_sets(golds, preds)


_NONE = ""
_OF_EXAMPLES = (
    *("accuracy", "retrieval_accuracy", "token_accuracy", "r_precision", "ndcg", "avna"),
    *("mining_f1", "mining_f1_halves"),
    *("answer_f1", "exact_match", "answer_f1_mlqa", "exact_match_mlqa", "answer_f1_squad2", "exact_match_squad2"),
)
"""Metrics with one class, whose parts an example has for itself."""


def _each(
    base: str, golds: Sequence[Any], preds: Sequence[Any], language: str | None, argument: str
) -> tuple[Floats, Floats]:
    pairs = list(zip(golds, preds, strict=True))
    ones = np.ones(len(pairs))
    if base in ("r_precision", "ndcg"):
        metric = labels.ndcg if base == "ndcg" else labels.r_precision
        found = [metric([gold], [pred.ranking], int(argument)) / 100 for gold, pred in pairs]
        return np.array(found, np.float64), np.array([bool(gold) for gold in golds], np.float64)
    if base.startswith("mining_f1"):
        if base == "mining_f1_halves":  # at these thresholds: they count as given when examples are weighted
            pairs = list(zip(golds, metrics.halves(golds, preds), strict=True))
        counts = np.array([metrics.pair_counts(*pair) for pair in pairs], np.float64).reshape(-1, 3)
        return 2 * counts[:, 0], counts[:, 1] + counts[:, 2]
    if base == "token_accuracy":
        right = [sum(one == other for one, other in zip(gold, pred, strict=True)) for gold, pred in pairs]
        return np.array(right, np.float64), np.array([len(gold) for gold in golds], np.float64)
    if base in ("accuracy", "retrieval_accuracy"):
        return np.array([gold == pred for gold, pred in pairs], np.float64), ones
    if base == "avna":
        return np.array([bool(gold) == bool(pred) for gold, pred in pairs], np.float64), ones
    if base.endswith("_squad2"):
        table = [answers.squad2_counts(*pair) for pair in pairs]
    else:
        table = [answers.counts(*pair, language if base.endswith("_mlqa") else None) for pair in pairs]
    if base.startswith("answer_f1"):
        return answers.each_f1(table), ones
    return np.array(table, np.float64).reshape(-1, len(answers.SPAN_COUNTS))[:, 0], ones


def _ratio(above: Floats, below: Floats) -> Parts:
    some = np.arange(len(above))
    return Parts(len(above), ("",), some, 0 * some, above, below)


def _f1(counted: Tallies, every: bool = True) -> Parts:
    right, predicted, wanted = counted.counts.T.astype(np.float64)
    return Parts(counted.examples, counted.labels, counted.example, counted.label, 2 * right, predicted + wanted, every)
