"""Texts beside their originals, or translations: which window of the one is read with which of the other.

Windows meet in order. Where one text has more of them than the other, each meets the one at its own relative place, so
that all of both texts are read; a window that is read twice counts once. Where an answer lies has no say in it: when a
text is tested nobody knows, and a partner chosen by the answer would give it away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.formats.encoding import Encoded, joined, offsets_of, ranges
from waystation.training.batches import Indices


@dataclass(frozen=True)
class Pairs:
    """P pairs of windows of n ``examples`` of ``encoded`` (ascending) beside those of their ``originals``.

    ``windows`` int64 [P, 2]: of the example, of its original. ``counted`` bool [P, 2]: whether the example has this
    window for the first time here.
    """

    encoded: Encoded
    examples: Indices
    originals: Indices
    windows: Indices
    counted: npt.NDArray[np.bool_]

    @cached_property
    def index(self) -> Encoded:
        """The encoding as if each pair were one window: its ``offsets`` and ``example`` are for cutting batches."""
        lengths = np.diff(self.encoded.offsets)[self.windows].sum(1)
        return replace(self.encoded, offsets=offsets_of(lengths), example=self.encoded.example[self.windows[:, 0]])


def pair(encoded: Encoded, examples: Indices, originals: Indices) -> Pairs:
    """Pair the windows of examples (ascending) with those of their originals; of n and m windows max(n, m) pairs.

    Of N pairs the k-th (from 0) has the window ⌈(k + 1/2) · n / N⌉ − 1 of the n of each text.
    """
    both = np.stack([examples, originals], 1)
    first = np.searchsorted(encoded.example, both, "left")
    number = np.searchsorted(encoded.example, both, "right") - first
    most = number.max(1, initial=0)
    item, k = np.repeat(np.arange(len(both)), most), ranges(np.zeros_like(most), most)
    place = ((2 * k[:, None] + 1) * number[item] - 1) // (2 * most[item][:, None])
    counted = np.ones(place.shape, np.bool_)
    counted[1:] = (place[1:] != place[:-1]) | (k[1:, None] == 0)
    return Pairs(encoded, examples, originals, first[item] + place, counted)


def with_translations(encoded: Encoded, originals: Indices) -> Pairs:
    """Every text of ``encoded`` that has the id of one of these originals, itself among them, beside it."""
    place = _places(encoded.ids, [encoded.ids[at] for at in originals.tolist()])
    examples = np.flatnonzero(place >= 0)
    return pair(encoded, examples, originals[place[examples]])


def beside(encoded: Encoded, partners: Encoded | None) -> Pairs:
    """One pair for each window of ``encoded``, in their order, with the partner of the same id.

    A text without a partner stands beside itself, as all do for None.
    """
    own = np.arange(len(encoded), dtype=np.int64)
    if partners is None:
        return _once(pair(encoded, own, own))
    place = _places(encoded.ids, partners.ids)
    return _once(pair(joined([encoded, partners]), own, np.where(place < 0, own, place + len(encoded))))


def alone(encoded: Encoded, partners: Encoded | None, what: str) -> int:
    """How many examples have no partner. Raises InputError where partners are there, but none for any of them."""
    found = int((_places(encoded.ids, partners.ids if partners else []) < 0).sum())
    if partners is not None and found == len(encoded):
        text = "texts are paired by id: say in the reader which field that is, or let them be translated here"
        raise InputError(f"fusion: no text of {what} has the id of one to stand beside; {text}")
    return found


def _once(made: Pairs) -> Pairs:
    """The pairs in which a window of an example comes for the first time."""
    first = made.counted[:, 0]
    return replace(made, windows=made.windows[first], counted=made.counted[first])


def _places(ids: Sequence[str], known: Sequence[str]) -> Indices:
    """Where each id stands among the known ones, -1 where it does not: int64."""
    at = {name: place for place, name in enumerate(known)}
    return np.array([at.get(own, -1) for own in ids], np.int64)
