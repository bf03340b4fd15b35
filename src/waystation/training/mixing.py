"""Which stream each update is of: drawn once from the seed, so that a phase resumes anywhere without state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from waystation.records import derive
from waystation.steps.recipes import Mixing

Chances = npt.NDArray[np.float64]


def chances(sizes: Sequence[int], mixing: Mixing, updates: int) -> Chances:
    """Chance of each stream at each update [updates, streams], from the training examples of each.

    ``annealed``: the exponent of the sizes is 1 - annealing * u / (updates - 1) at update u (Stickland and Murray
    2019, section 3.3, by updates instead of epochs). The others are as in Raffel et al. 2020, section 3.5.2.
    """
    n = np.array(sizes, np.float64)
    match mixing.sampler:
        case "uniform":
            weights = np.ones((updates, len(n)))
        case "proportional":
            weights = np.tile(n, (updates, 1))
        case "capped":
            assert mixing.cap is not None
            weights = np.tile(np.minimum(n, mixing.cap), (updates, 1))
        case "temperature":
            assert mixing.temperature is not None
            weights = np.tile(n ** (1 / mixing.temperature), (updates, 1))
        case "annealed":
            weights = n ** (1 - mixing.annealing * np.linspace(0, 1, updates))[:, None]
    found: Chances = weights / weights.sum(axis=1, keepdims=True)
    return found


class Mixture:
    """Update → (stream, how many updates of that stream came before).

    ``sizes`` of the streams that are mixed; ``share``: the chance of one more stream, the last, at every update.
    """

    def __init__(
        self, sizes: Sequence[int], mixing: Mixing, updates: int, seed: int, share: float | None = None
    ) -> None:
        table = chances(sizes, mixing, updates)
        if share is not None:
            table = np.hstack([table * (1 - share), np.full((updates, 1), share)])
        drawn = np.random.default_rng(derive(seed, "mixture")).random(updates)
        self.streams = (drawn[:, None] >= table.cumsum(axis=1)[:, :-1]).sum(axis=1)
        ones = self.streams[:, None] == np.arange(table.shape[1])
        self.turns = (ones.cumsum(axis=0) - 1)[np.arange(updates), self.streams]

    def __call__(self, update: int) -> tuple[int, int]:
        """(stream, turn) of an update."""
        return int(self.streams[update]), int(self.turns[update])
