"""SQuAD 2.0: questions that may have no answer in the passage (Rajpurkar et al. 2018, official script).

A system answers every question, with "" where it says that there is no answer, and may give each a *null score*: the
higher, the likelier that there is none. A question whose null score is above a threshold counts as unanswered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.scoring.answers import each_f1, squad2_counts

Floats = npt.NDArray[np.float64]


def evaluate(
    golds: Sequence[Sequence[str]],
    preds: Sequence[str],
    null_scores: Sequence[float] | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """The official script's figures under its own names, in points but for totals and thresholds.

    ``exact`` and ``f1`` over all questions, ``HasAns_`` and ``NoAns_`` over those with and without a reference answer
    (left out where there are none), ``total`` questions of each; ``AvNA``: the share in which an answer is given just
    where there is one. With ``null_scores`` also ``best_exact`` and ``best_f1``, which the best threshold on these
    very questions would give, and the threshold: an upper bound, no system's score. Of equal null scores the search
    may count some and not others, as the script does.

    Raises InputError where there is no question, or the lengths differ.
    """
    exact, f1 = raw(golds, preds)
    answerable = np.array([len(gold) > 0 for gold in golds])
    answered = np.array([bool(pred) for pred in preds])
    scores = np.zeros(len(golds)) if null_scores is None else np.asarray(null_scores, np.float64)
    if scores.shape != answerable.shape:
        raise InputError(f"{len(scores)} null scores for {len(golds)} questions; there must be one for each")
    if np.isnan(scores).any():
        raise InputError(f"null score of question {int(np.isnan(scores).argmax())} is not a number; give each one")
    none = scores > threshold
    kept_exact, kept_f1 = (np.where(none, ~answerable, each) for each in (exact, f1))
    found: dict[str, float] = {}
    for prefix, chosen in (("", answerable | True), ("HasAns_", answerable), ("NoAns_", ~answerable)):
        if chosen.any():
            found[f"{prefix}exact"] = float(100 * kept_exact[chosen].mean())
            found[f"{prefix}f1"] = float(100 * kept_f1[chosen].mean())
            found[f"{prefix}total"] = int(chosen.sum())
    found["AvNA"] = float(100 * ((answered & ~none) == answerable).mean())
    if null_scores is not None:
        for name, each in (("exact", exact), ("f1", f1)):
            best, at = best_threshold(each, answered, answerable, scores)
            found |= {f"best_{name}": best, f"best_{name}_thresh": at}
    return found


def raw(golds: Sequence[Sequence[str]], preds: Sequence[str]) -> tuple[Floats, Floats]:
    """Exact match and F1 of each question, 0 to 1, before any threshold: float64 [N] each."""
    if len(golds) != len(preds):
        raise InputError(f"{len(preds)} answers for {len(golds)} questions; there must be one for each")
    if not golds:
        raise InputError("there is no question to score")
    counts = np.array([squad2_counts(gold, pred) for gold, pred in zip(golds, preds, strict=True)], np.float64)
    return counts[:, 0], each_f1(counts)


def best_threshold(
    each: Floats, answered: npt.NDArray[np.bool_], answerable: npt.NDArray[np.bool_], null_scores: Floats
) -> tuple[float, float]:
    """The best mean in points that a threshold on the null scores gives, and the threshold; all [N].

    From none answered on, questions are answered by rising null score: an answer to one that has none costs what
    leaving it out gained. The threshold is 0 where nothing beats leaving out all.
    """
    order = np.argsort(null_scores, kind="stable")
    change = np.where(answerable, each, -answered.astype(np.float64))[order]
    total = np.append(0.0, change).cumsum() + (~answerable).sum()
    best = int(total.argmax())
    return float(100 * total[best] / len(each)), float(null_scores[order[best - 1]]) if best else 0.0
