"""The rate of every update: schedules, and the cycles of gradual unfreezing. Pure functions of the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from waystation.errors import InputError
from waystation.steps.recipes import Recipe

FIRST, LAST = 1 / 25, 1 / 250_000
"""Where one cycle begins and ends, as shares of its peak (the defaults of torch's OneCycleLR)."""


@dataclass(frozen=True)
class Cycle:
    """Updates ``begin`` to ``end`` (without it), a run of the schedule of its own.

    ``groups`` of the encoder are trained, counted from the top (None: all that the recipe trains); ``peak``: of the
    rate, as a share of the recipe's.
    """

    begin: int
    end: int
    groups: int | None = None
    peak: float = 1.0


def cycles(recipe: Recipe, epoch: float | None = None) -> list[Cycle]:
    """The cycles of a phase, one without unfreezing; ``epoch``: updates in one pass over its examples.

    Raises InputError where the updates do not suffice for all of them.
    """
    if recipe.unfreezing is None:
        return [Cycle(0, recipe.updates)]
    asked = recipe.unfreezing
    number = len(asked.groups)
    if asked.length is None:
        each = recipe.updates / number
    elif asked.unit == "updates":
        each = asked.length
    else:
        assert epoch is not None
        each = asked.length * epoch
    borders = [*(round(each * cycle) for cycle in range(number)), recipe.updates]
    spans = list(pairwise(borders))
    if any(end <= begin for begin, end in spans):
        raise InputError(
            f"unfreezing: {number} cycles do not fit into {recipe.updates} updates, each but the last takes {each:g}; "
            "raise updates or lower unfreezing.length"
        )
    peaks = [rate / recipe.rate for rate in asked.rates] or [1.0] * number
    return [Cycle(*span, size, peak) for span, size, peak in zip(spans, asked.groups, peaks, strict=True)]


def cycle_at(found: Sequence[Cycle], update: int) -> Cycle:
    """The cycle that an update belongs to."""
    return next(cycle for cycle in found if update < cycle.end)


def rate_factor(update: int, recipe: Recipe, cycle: Cycle | None = None) -> float:
    """What the rates of the recipe are multiplied with at an update, counted from 0; ``cycle``: None, all updates.

    ``linear``: warm-up from 0 to the peak over the recipe's share of the cycle's updates, then down to 0
    (transformers' linear schedule). ``one-cycle``: by cosines from ``FIRST`` up to the peak over that share, and down
    to ``LAST`` at the last update (Smith and Topin 2019, with the cosines of torch's OneCycleLR).
    """
    cycle = cycle or Cycle(0, recipe.updates)
    at, length = update - cycle.begin, cycle.end - cycle.begin
    warm = round(recipe.warmup * length)
    if recipe.schedule == "one-cycle":
        top = max(0, warm - 1)
        if at < top:
            return cycle.peak * _cosine(FIRST, 1.0, at / top)
        return cycle.peak * (_cosine(1.0, LAST, (at - top) / (length - 1 - top)) if at > top else 1.0)
    if at < warm:
        return cycle.peak * (at / max(1, warm))
    return cycle.peak * max(0.0, (length - at) / max(1, length - warm))


def _cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * share)) / 2
