"""Batches: drawn at random as the reference does, then sorted and cut inside so that little is spent on padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError
from waystation.formats.encoding import IGNORED, Encoded
from waystation.records import derive
from waystation.steps.records import Subset

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One micro-batch: ``tokens``, ``mask`` [B, L], ``targets`` [B, L] or [B], ``types`` [B, L] or None."""

    tokens: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    types: torch.Tensor | None


def draw_subset(encoded: Encoded, subset: Subset | None, seed: int, among: Indices | None = None) -> Indices:
    """Examples that a training step uses: all (of ``among``), or a random subset drawn anew per seed, sorted.

    ``words``: whole examples until the amount is reached. Raises InputError where the data holds less than asked for.
    """
    among = np.arange(len(encoded), dtype=np.int64) if among is None else among
    if subset is None:
        return among
    order = among[np.random.default_rng(derive(seed, "subset")).permutation(len(among))]
    sizes = encoded.words[order].astype(np.int64) if subset.by == "words" else np.ones(len(order), dtype=np.int64)
    total = np.cumsum(sizes)
    if not len(total) or total[-1] < subset.amount:
        have = int(total[-1]) if len(total) else 0
        raise InputError(f"match asks for {subset.amount} {subset.by}, the data holds {have}; lower match.amount")
    return np.sort(order[: int(np.searchsorted(total, subset.amount)) + 1]).astype(np.int64)


def carve(encoded: Encoded, examples: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """(training, validation) examples, parted by cluster where the data has clusters, else by example."""
    keys = [encoded.clusters[i] or encoded.ids[i] for i in examples.tolist()]
    names = sorted(set(keys))
    if len(names) < 2:
        raise InputError("validation needs at least two documents or examples to carve from the training data")
    order = np.random.default_rng(derive(seed, "validation")).permutation(len(names))
    held = {names[i] for i in order[: min(len(names) - 1, max(1, round(fraction * len(names))))].tolist()}
    out = np.array([key in held for key in keys])
    return examples[~out], examples[out]


class Sampler:
    """Which examples each update sees: every epoch a fresh permutation, cut into batches.

    By default batches hold ``batch`` examples and the last of an epoch is kept short, as the reference does. With
    ``spread`` = (updates, passes) the batches are cut so that ``updates`` of them are exactly ``passes`` passes over
    the examples: arms with equal words then see equal words per update, however long their sentences are.
    A pure function of (seed, update), so that a training step resumes anywhere without state.
    """

    def __init__(self, examples: Indices, batch: int, seed: int, spread: tuple[int, int] | None = None) -> None:
        self.examples, self.batch, self.seed, self.spread = examples, batch, seed, spread

    def __call__(self, update: int) -> Indices:
        """The examples of one update."""
        size = len(self.examples)
        if self.spread is not None:
            updates, passes = self.spread
            begin, end = (place * size * passes // updates for place in (update, update + 1))
        else:
            epoch, place = divmod(update, -(-size // self.batch))
            begin = epoch * size + place * self.batch
            end = min(begin + self.batch, (epoch + 1) * size)
        epochs = range(begin // size, -(-end // size))
        stream = np.concatenate([self._epoch(epoch) for epoch in epochs])
        return stream[begin - epochs.start * size : end - epochs.start * size]

    def _epoch(self, epoch: int) -> Indices:
        order = np.random.default_rng(derive(self.seed, "order", epoch)).permutation(len(self.examples))
        return self.examples[order]


def windows_of(encoded: Encoded, examples: Indices) -> Indices:
    """All windows of the given examples."""
    starts = np.searchsorted(encoded.example, examples, side="left")
    ends = np.searchsorted(encoded.example, examples, side="right")
    parts = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)


def micro_batches(encoded: Encoded, windows: Indices, budget: int) -> list[Indices]:
    """Sort windows by length and cut them so that no micro-batch holds more than ``budget`` padded tokens."""
    lengths = (encoded.offsets[windows + 1] - encoded.offsets[windows]).astype(np.int64)
    order = np.argsort(-lengths, kind="stable")
    cuts, start = [], 0
    while start < len(order):
        size = max(1, budget // int(lengths[order[start]]))
        cuts.append(windows[order[start : start + size]])
        start += size
    return cuts


def collate(encoded: Encoded, windows: Indices, places: npt.NDArray[np.int32], pad: int, per_token: bool) -> Batch:
    """Pad windows to the longest of them; token ids become places in the active vocabulary."""
    starts, ends = encoded.offsets[windows], encoded.offsets[windows + 1]
    longest = int((ends - starts).max())
    shape = (len(windows), longest)
    inside = np.arange(longest) < (ends - starts)[:, None]
    source = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
    tokens = np.full(shape, pad, dtype=np.int64)
    tokens[inside] = places[encoded.tokens[source]]
    types = None
    if encoded.types is not None:
        types = np.zeros(shape, dtype=np.int64)
        types[inside] = encoded.types[source]
    if per_token:
        targets = np.full(shape, IGNORED, dtype=np.int64)
        targets[inside] = encoded.targets[source]
    else:
        targets = encoded.targets[windows].astype(np.int64)
    return Batch(
        torch.from_numpy(tokens),
        torch.from_numpy(inside),
        torch.from_numpy(targets),
        None if types is None else torch.from_numpy(types),
    )
