"""Who was found rightly, who was predicted, who was to be found: of each example, label by label.

All F1 scores but those of answers come from these counts, whether over all labels together (micro), as a mean over
labels (macro) or of a single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from waystation.scoring import pos, spans
from waystation.scoring.spans import Tags

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tallies:
    """Counts of N ``examples`` for each of their labels; what has none of a label has no row for it.

    Row m, int64 [M]: of the label ``labels[label[m]]`` example ``example[m]`` has ``counts[m]``, int64 [M, 3]: found
    rightly, predicted, in the reference. Rows are ordered by example, then label.
    """

    examples: int
    labels: tuple[str, ...]
    example: Ints
    label: Ints
    counts: Ints

    @classmethod
    def add(cls, examples: int, labels: Sequence[str], found: Iterable[Ints]) -> Self:
        """Add up what was found: rightly, predicted, in the reference, each int64 [2, n] of example and label."""
        keys = [example * len(labels) + label for example, label in found]
        rows, at = np.unique(np.concatenate(keys), return_inverse=True)
        which = np.repeat(np.arange(3), [len(key) for key in keys])
        counts = np.bincount(at * 3 + which, minlength=3 * len(rows)).reshape(-1, 3)
        return cls(examples, tuple(labels), *np.divmod(rows, max(1, len(labels))), counts)

    def together(self) -> Self:
        """All labels as one, which has no name."""
        totals = [np.bincount(self.example, column, self.examples) for column in self.counts.T]
        some = np.arange(self.examples)
        return type(self)(self.examples, ("",), some, 0 * some, np.stack(totals, 1).astype(np.int64))

    def only(self, label: str) -> Self:
        """One label alone."""
        kept = self.label == (self.labels.index(label) if label in self.labels else -1)
        return type(self)(self.examples, (label,), self.example[kept], 0 * self.label[kept], self.counts[kept])

    def over(self, labels: Sequence[str]) -> Self:
        """Exactly these labels, in this order; rows of others are left out."""
        place = {label: at for at, label in enumerate(labels)}
        moved = np.array([place.get(label, -1) for label in self.labels], np.int64)[self.label]
        kept = moved >= 0
        return type(self)(self.examples, tuple(labels), self.example[kept], moved[kept], self.counts[kept])

    def totals(self) -> Ints:
        """Sums over all examples and labels: found rightly, predicted, in the reference."""
        found: Ints = self.counts.sum(0)
        return found


def of_sets(golds: Sequence[Iterable[str]], preds: Sequence[Iterable[str]]) -> Tallies:
    """Of sets of labels."""
    number: dict[str, int] = {}
    right, predicted, wanted = rows = list[tuple[int, int]](), list[tuple[int, int]](), list[tuple[int, int]]()
    for example, (gold, pred) in enumerate(zip(golds, preds, strict=True)):
        one, other = (
            {number.setdefault(label, len(number)): None for label in labels} for labels in (gold, pred)
        )  # dictionaries keep an order, so that labels have one too
        wanted += [(example, label) for label in one]
        predicted += [(example, label) for label in other]
        right += [(example, label) for label in one if label in other]
    columns = [np.array(found, np.int64).reshape(-1, 2).T for found in rows]
    return Tallies.add(len(golds), list(number), columns)


def of_labels(golds: Sequence[str], preds: Sequence[str]) -> Tallies:
    """Of examples with one label each."""
    return of_sets([[gold] for gold in golds], [[pred] for pred in preds])


def of_entities(golds: Sequence[Tags], preds: Sequence[Tags], strict: bool = False) -> Tallies:
    """Of the entities of sentences, by type; ``strict`` as in ``spans.compare``."""
    number: dict[str, int] = {}
    found: list[list[Ints]] = [[np.zeros((2, 0), np.int64)] for _ in range(3)]
    at = 0
    for block in spans.compare(golds, preds, strict=strict):
        sentence = at + np.repeat(np.arange(len(block.sizes)), block.sizes)
        kinds = np.array([number.setdefault(kind, len(number)) for kind in block.types], np.int64)
        for rows, (first, kind) in zip(found, (block.right, block.predicted, block.gold), strict=True):
            rows.append(np.stack([sentence[first], kinds[kind]]))
        at += len(block.sizes)
    return Tallies.add(len(golds), list(number), [np.hstack(rows) for rows in found])


def of_runs(golds: Sequence[Tags], preds: Sequence[Tags], version: str) -> Tallies:
    """Of the runs of equal tags that a version of seqeval takes for entities, see ``pos``."""
    runs = pos.compare(golds, preds, version)
    return Tallies.add(len(golds), runs.types, (runs.right, runs.predicted, runs.gold))
