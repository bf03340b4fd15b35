"""Intervals of a system that has no seeds: how its difference from the baseline would move with other test examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from waystation.analysis import stored

ESTIMAND = "this system against the mean of these runs of the baseline, over test examples"
"""What the interval is about: systems and runs stay as they are, examples are drawn."""

COVERAGE = 0.95


def interval(
    ours: Path, bases: Sequence[Path], metric: str, language: str, labels: Sequence[str], difference: float
) -> tuple[float, float] | tuple[None, None]:
    """A 95 % interval around a difference in points, from one language's stored predictions of the same examples.

    First order: of each example the influence on the system's score less the mean of those on the baselines'. These
    are summed by document, where there are documents, and their spread gives the standard error; t with documents - 1
    degrees of freedom. (None, None) where there are fewer than two documents.
    """
    runs = [stored.influence(path, metric, language, labels) for path in bases]
    moved = stored.influence(ours, metric, language, labels) - np.mean(runs, 0)
    half = half_width(moved, stored.clusters(ours))
    return (None, None) if half is None else (difference - half, difference + half)


def half_width(moved: npt.NDArray[np.float64], cluster: npt.NDArray[np.int64]) -> float | None:
    """Half of the interval of a score from the influence values [N] of its examples and their clusters [N]."""
    sums = np.bincount(cluster, moved)
    number = len(sums)
    if number < 2:
        return None
    error = math.sqrt(number / (number - 1) * float(sums @ sums)) / len(moved)
    return t_quantile(number - 1) * error


@cache
def t_quantile(freedom: int, share: float = COVERAGE) -> float:
    """t with P(|T| ≤ t) = ``share`` for a whole number of degrees of freedom.

    By bisection of the finite series for this probability (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4).
    """
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if _within(middle, freedom) > share else (middle, high)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    k = np.arange(1, (freedom - odd) // 2)
    terms = (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k)) * math.cos(angle) ** 2
    series = 1.0 + float(np.cumprod(terms).sum())
    if not odd:
        return math.sin(angle) * series
    if freedom == 1:
        series = 0.0
    return 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * series)
