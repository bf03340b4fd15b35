"""Batches: drawn at random as the reference does; only inside one are windows sorted and cut. Nothing is padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError
from waystation.formats.encoding import Encoded, Reads, offsets_of, ranges
from waystation.models.encoder import TaskModel
from waystation.records import derive
from waystation.steps.recipes import Fusion, Subset

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One micro-batch of B windows as a flat row of N tokens.

    ``tokens``, ``types`` (or None) int64 [N]; ``lengths`` sum up to N; ``rows`` int64 [S]: the positions that the head
    reads, None for all; ``targets`` int64 [S], [B] or [B, k], as the format's loss takes them; ``states`` float32
    [N, H]: what the frozen trunk makes of the tokens, where that is stored.
    """

    tokens: torch.Tensor
    lengths: list[int]
    types: torch.Tensor | None
    rows: torch.Tensor | None
    targets: torch.Tensor
    states: torch.Tensor | None = None

    @property
    def sizes(self) -> Indices:
        """How many of the rows that the head reads are of each window: int64 [B], sum S."""
        bounds = offsets_of(np.array(self.lengths))
        return np.diff(bounds if self.rows is None else np.searchsorted(self.rows.numpy(), bounds))

    def logits(
        self, model: TaskModel, device: torch.device, head: str = "", fusion: Fusion | None = None
    ) -> torch.Tensor:
        """The logits [S, C] of one of the model's heads for this batch.

        ``fusion``: its windows are pairs, and the two of a pair follow one another.
        """
        parts = (self.types, self.rows, self.states)
        types, rows, states = (None if part is None else part.to(device) for part in parts)
        found: torch.Tensor = model(self.tokens.to(device), self.lengths, types, rows, states, head, fusion)
        return found


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
    return ranges(starts, ends - starts)


def first_windows(encoded: Encoded, windows: Indices) -> npt.NDArray[np.bool_]:
    """Which of these windows are the first of their example."""
    found: npt.NDArray[np.bool_] = (windows == 0) | (encoded.example[windows] != encoded.example[windows - 1])
    return found


def micro_batches(
    encoded: Encoded, windows: Indices, budget: int, padded: bool = False, together: bool = False
) -> list[Indices]:
    """Sort windows by length, longest first, and cut them so that no micro-batch holds more than ``budget`` tokens.

    With ``padded`` the tokens of the padded batch count. A window above the budget goes alone. ``together``: all
    windows of each example are given, one after the other; they stay so, and are sorted by the longest of them.
    """
    lengths = (encoded.offsets[windows + 1] - encoded.offsets[windows]).astype(np.int64)
    begins = np.flatnonzero(first_windows(encoded, windows)) if together else np.arange(len(windows))
    sizes = np.diff(begins, append=len(windows))
    longest, tokens = np.maximum.reduceat(lengths, begins), np.add.reduceat(lengths, begins)
    order = np.argsort(-longest, kind="stable")
    held, ends = np.cumsum(sizes[order]), np.cumsum(tokens[order])
    cuts, start = [], 0
    while start < len(order):
        counted, most = (held, budget // int(longest[order[start]])) if padded else (ends, budget)
        before = int(counted[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(counted, before + most, side="right")))
        piece = order[start:stop]
        cuts.append(windows[ranges(begins[piece], sizes[piece])])
        start = stop
    return cuts


def collate(
    encoded: Encoded,
    windows: Indices,
    places: npt.NDArray[np.int32],
    reads: Reads,
    trunk: npt.NDArray[np.float32] | None = None,
) -> Batch:
    """Windows one after the other; token ids become places in the active vocabulary.

    ``trunk`` float32 [T, H]: stored states of every token of ``encoded``.
    """
    starts = encoded.offsets[windows]
    lengths = encoded.offsets[windows + 1] - starts
    source = ranges(starts, lengths)
    rows, targets = None, encoded.targets
    if reads == "scored":
        assert encoded.word is not None
        rows = np.flatnonzero(encoded.word[source] >= 0)
        targets = targets[source[rows]]
    else:
        targets = targets[windows]
        if reads == "first":
            rows = np.cumsum(lengths) - lengths
    return Batch(
        tokens=torch.from_numpy(places[encoded.tokens[source]].astype(np.int64)),
        lengths=lengths.tolist(),
        types=None if encoded.types is None else torch.from_numpy(encoded.types[source].astype(np.int64)),
        rows=None if rows is None else torch.from_numpy(rows),
        targets=torch.from_numpy(targets.astype(np.int64)),
        states=None if trunk is None else torch.from_numpy(trunk[source]),
    )
