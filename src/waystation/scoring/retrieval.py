"""Retrieval of translations: exact nearest neighbours by cosine, and mining of translated pairs.

Search is that of XTREME's Tatoeba as run by jiant, the code base of the intermediate-task study of Phang et al. (2020):
embeddings are L2-normalised, every sentence of one language queries the pool of the other, and the accuracy of its
top hit is reported. The study queries in English. Mining is the procedure of XTREME's BUCC: Artetxe and Schwenk
(2019), section 3, ratio margin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

TILE = (1024, 1024)
"""Rows and columns of cosines held at a time: 4 MiB."""


def top_k(queries: npt.ArrayLike, pool: npt.ArrayLike, k: int, index: str | None = None) -> tuple[Ints, Floats]:
    """For each query the rows of the pool with the ``k`` highest cosines, best first, and these cosines.

    ``queries`` [Q, H] and ``pool`` [P, H] hold one embedding a row, P ≥ 1. Returns int64 and float32 [Q, min(k, P)].
    Of equal cosines the lower index comes first; equal rows have equal cosines; a row of zeros has cosine 0 to
    everything. Memory is O((Q + P)·H + Q·k) and one tile of cosines, never Q·P.

    With ``index`` the search is faiss's instead (extra ``retrieval``), for pools of millions: a string for its
    index_factory such as "IVF4096,Flat", which is approximate: it promises no order of ties, and an index of -1 means
    that it found no more.

    Raises InputError where shapes do not fit, a value is not finite, or faiss is absent or refuses ``index``.
    """
    asked, offered = _both(queries, "queries", pool, "pool")
    if not len(offered):
        raise InputError("pool has no rows: nothing can be found in it")
    if k < 1:
        raise InputError(f"k is {k}: ask for one neighbour at least")
    if index is not None:
        return _faiss(asked, offered, min(k, len(offered)), index)
    # Equal rows could get cosines that differ in the last bit by their place in a tile: each distinct row competes
    # once and then stands for all its equals.
    first, which = _distinct(offered)
    best = _Best(len(asked), min(k, len(first)))
    for row, column, cosines in _tiles(asked, offered[first]):
        best.offer(cosines, row, column)
    found, cosines = best.found()
    if len(first) == len(offered):
        return found, cosines
    return _equals_too(found, cosines, which, min(k, len(offered)))


def nearest(queries: npt.ArrayLike, pool: npt.ArrayLike) -> Ints:
    """For each query the row of the pool with the highest cosine, int64 [Q]: ``top_k`` with k = 1."""
    return top_k(queries, pool, 1)[0][:, 0]


def retrieval_accuracy(queries: npt.ArrayLike, pool: npt.ArrayLike) -> float:
    """Share of queries, in points 0–100, whose nearest pool row is their translation.

    ``queries`` and ``pool`` are [N, H], N ≥ 1, and row i of one is the translation of row i of the other. Equal pool
    rows stay different answers: only the first of them can be right.

    Raises InputError as ``nearest`` does, and where the two do not pair up.
    """
    found, answers = nearest(queries, pool), len(np.asarray(pool))
    if len(found) != answers:
        raise InputError(f"{len(found)} queries and {answers} pool rows: every query needs its own answer")
    return float(100.0 * np.mean(found == np.arange(len(found))))


def mine(left: npt.ArrayLike, right: npt.ArrayLike, k: int = 4) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """Pairs of translations among two sets of sentences: rows of ``left``, rows of ``right``, scores; all [pairs].

    The score is the ratio margin: the cosine of a pair divided by the mean of both sides' mean cosine to their ``k``
    nearest rows of the other side (0 where that mean is 0). Each sentence proposes the best by margin of its ``k``
    nearest; proposals of both sides are accepted by falling score while neither sentence is taken ("max" retrieval).
    Pairs come in that order; of equal scores, proposals of the left come first, then lower rows.

    Equal rows are one sentence while pairs are sought, and in the result every row of one with every row of the other:
    BUCC repeats sentences, and jiant's procedure collapses equal texts and then gives all their ids (XTREME's drops
    them). ``left`` [N, H] and ``right`` [M, H] may be empty; for memory see ``top_k``.

    Raises InputError where shapes do not fit or a value is not finite.
    """
    ours, theirs = _both(left, "left", right, "right")
    if k < 1:
        raise InputError(f"k is {k}: ask for one neighbour at least")
    if not len(ours) or not len(theirs):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    (ours_first, ours_which), (theirs_first, theirs_which) = _distinct(ours), _distinct(theirs)
    forward = _Best(len(ours_first), min(k, len(theirs_first)))
    backward = _Best(len(theirs_first), min(k, len(ours_first)))
    for row, column, cosines in _tiles(ours[ours_first], theirs[theirs_first]):
        forward.offer(cosines, row, column)
        backward.offer(cosines.T, column, row)
    (there, out), (back, home) = forward.found(), backward.found()
    out_mean, home_mean = out.mean(1, dtype=np.float64), home.mean(1, dtype=np.float64)
    proposed, score = _proposals(there, out, out_mean, home_mean)
    answered, answer_score = _proposals(back, home, home_mean, out_mean)
    i = np.concatenate([np.arange(len(proposed)), answered])
    j = np.concatenate([proposed, np.arange(len(answered))])
    scores = np.concatenate([score, answer_score])
    order = np.argsort(-scores, kind="stable")
    i, j, scores = i[order], j[order], scores[order]
    kept, taken, found = [], set[int](), set[int]()
    for at, (one, other) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        if one not in taken and other not in found:
            taken.add(one)
            found.add(other)
            kept.append(at)
    return _every_pair(i[kept], j[kept], scores[kept], _equals(ours_which), _equals(theirs_which))


def _proposals(
    near: Ints, cosines: Floats, mean: npt.NDArray[np.float64], mean_there: npt.NDArray[np.float64]
) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Of each sentence's nearest [n, k] the best by margin, and its margin."""
    usual = (mean[:, None] + mean_there[near]) / 2
    margin = np.divide(cosines, usual, out=np.zeros(usual.shape), where=usual != 0)
    best = margin.argmax(1)[:, None]
    return np.take_along_axis(near, best, 1)[:, 0], np.take_along_axis(margin, best, 1)[:, 0]


def best_threshold(score: npt.ArrayLike, right: npt.ArrayLike, gold: int) -> tuple[float, float]:
    """The threshold that gives mined pairs the best F1, and this F1 in points: pairs of a score ≥ threshold are kept.

    ``score`` and ``right`` [P]: the score of each pair and whether it is one of the ``gold`` true pairs. The threshold
    lies half-way between the last pair kept and the first dropped, as XTREME's BUCC has it; the last kept score where
    none is dropped; infinite (keep nothing) where no pair is right. Of equal F1 the one that keeps fewer.
    """
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    scores, hits = np.asarray(score, np.float64)[order], np.cumsum(np.asarray(right, bool)[order])
    if not len(hits) or not hits[-1]:
        return float("inf"), 0.0
    f1 = 200.0 * hits / (np.arange(1, len(hits) + 1) + gold)
    f1[:-1][scores[1:] == scores[:-1]] = 0.0  # equal scores cannot be told apart
    last = int(f1.argmax())
    half = scores[last : last + 2].mean()
    return float(half if half > scores[min(last + 1, len(scores) - 1)] else scores[last]), float(f1[last])


class Mined(str):
    """The id of the sentence that was mined for another, "" for none, and the ``margin`` of the pair."""

    margin: float

    def __new__(cls, pred: str, margin: float) -> Self:
        """A text with its margin."""
        found = super().__new__(cls, pred)
        found.margin = margin
        return found


def threshold_of(golds: Sequence[str], preds: Sequence[str], scores: Sequence[float]) -> float:
    """``best_threshold`` of sentences that were mined: the ids of the true and the found translation, "" for none."""
    found = [at for at, pred in enumerate(preds) if pred]
    return best_threshold(
        [scores[at] for at in found], [golds[at] == preds[at] for at in found], sum(map(bool, golds))
    )[0]


def keep(preds: Sequence[str], scores: Sequence[float], threshold: float) -> list[str]:
    """Mined pairs of a score ≥ ``threshold``; the others become "".

    With the threshold of a development set (``threshold_of``) ``metrics.mining_f1`` is then XTREME's BUCC score; with
    that of these very sentences it is an upper bound, the *own-threshold* F1.
    """
    return [pred if score >= threshold else "" for pred, score in zip(preds, scores, strict=True)]


def keep_by_halves(golds: Sequence[str], preds: Sequence[str], scores: Sequence[float]) -> list[str]:
    """As ``keep``, where there is no development set: every second sentence by the best threshold of the others."""
    kept = [""] * len(preds)
    for half in (0, 1):
        threshold = threshold_of(golds[1 - half :: 2], preds[1 - half :: 2], scores[1 - half :: 2])
        kept[half::2] = keep(preds[half::2], scores[half::2], threshold)
    return kept


class _Best:
    """The k highest cosines of each row so far, and where they stand; found by looking at all in a few passes.

    ``keys`` int64 [rows, k], the best last, are cosine and place in one number that sorts as they do: by cosine, then
    by falling place. ``floor``: a cosine below it is not among a row's best.
    """

    def __init__(self, rows: int, k: int) -> None:
        self.keys = np.full((rows, k), _NOTHING)
        self.floor = np.full(rows, -np.inf, np.float32)

    def offer(self, cosines: Floats, row: int, place: int) -> None:
        """Cosines [r, c] of the rows from ``row`` on, at the places from ``place`` on: higher than any offered before.

        Contiguous, or the transposed view of a contiguous array.
        """
        k = self.keys.shape[1]
        floor = self.floor[row : row + len(cosines)]
        width = cosines.shape[1] // (4 * k)
        if floor[0] == -np.inf and width > 1:
            # The first for these rows: of the highest of 4k groups, the k-th is no higher than the k-th of all.
            groups = cosines[:, : 4 * k * width].reshape(len(cosines), 4 * k, width).max(2)
            floor = np.partition(groups, -k, axis=1)[:, -k]
        at = _flatnonzero((cosines >= floor[:, None]).ravel("K"))
        if not len(at):
            return
        if cosines.flags.c_contiguous:
            rows, places = np.divmod(at, cosines.shape[1])
        else:
            places, rows = np.divmod(at, len(cosines))
            order = np.argsort(rows)
            at, rows, places = at[order], rows[order], places[order]
        keys = _sortable(cosines.ravel("K")[at]) << 32 | (0xFFFFFFFF - place - places)
        # One line for each row that is concerned: its best so far, then what came.
        begin = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))
        size = np.diff(np.append(begin, len(rows)))
        lines = np.full((len(begin), k + int(size.max())), _NOTHING)
        concerned = row + rows[begin]
        lines[:, :k] = self.keys[concerned]
        rank = np.arange(len(rows)) - np.repeat(begin, size)
        lines[np.repeat(np.arange(len(begin)), size), k + rank] = keys
        lines.sort(axis=1)
        self.keys[concerned] = lines[:, -k:]
        # What comes later loses to its equals.
        self.floor[concerned] = np.nextafter(_cosine(lines[:, -k]), np.float32(np.inf))

    def found(self) -> tuple[Ints, Floats]:
        """Places and cosines [rows, k], the best first; as many as k must have been offered."""
        keys = self.keys[:, ::-1]
        return 0xFFFFFFFF - (keys & 0xFFFFFFFF), _cosine(keys)


def _sortable(values: Floats) -> Ints:
    """Integers of 32 bits that sort as the numbers do."""
    bits = (values + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).astype(np.int64)


def _cosine(keys: Ints) -> Floats:
    bits = (keys >> 32).astype(np.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).view(np.float32)


_NOTHING = _sortable(np.array([-np.inf], np.float32))[0] << 32


def _flatnonzero(mask: npt.NDArray[np.bool_]) -> Ints:
    """``np.flatnonzero`` of a mask that is nearly empty: eight at a time, where eight go into it."""
    if len(mask) % 8:
        return np.flatnonzero(mask)
    eights = mask.reshape(-1, 8)
    some = np.flatnonzero(eights.view(np.uint64) != 0)
    which, inside = np.nonzero(eights[some])
    return some[which] * 8 + inside


def _tiles(left: Floats, right: Floats) -> Iterator[tuple[int, int, Floats]]:
    """First row, first column and the cosines, contiguous, of every tile of left x right, row by row."""
    high, wide = TILE
    for row in range(0, len(left), high):
        for column in range(0, len(right), wide):
            yield row, column, _product(left[row : row + high], right[column : column + wide])


def _product(left: Floats, right: Floats) -> Floats:
    """left · rightᵀ in float32: by torch's oneDNN where torch is loaded anyway, else by numpy.

    On processors that numpy's OpenBLAS does not know (AMD's with AVX-512) oneDNN is twice as fast.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.backends.mkldnn.is_available():
        operands = torch.from_numpy(left), torch.from_numpy(right)
        try:
            found: Floats = torch.ops.mkldnn._linear_pointwise(*operands, None, "none", [], "").numpy()
            return found
        except (AttributeError, RuntimeError):  # torch declares the operator in every build, and has it in some
            pass
    return left @ right.T


def _distinct(rows: Floats) -> tuple[Ints, Ints]:
    """First indexes, rising, of the distinct rows; for each row the place of its equal among them."""
    alike, count = np.unique(rows[:, 0], return_inverse=True, return_counts=True)[1:]
    first, seen = np.arange(len(rows)), dict[bytes, int]()
    for index in np.flatnonzero(count[alike] > 1).tolist():
        first[index] = seen.setdefault(rows[index].tobytes(), index)
    return np.unique(first, return_inverse=True)


def _equals(which: Ints) -> tuple[Ints, Ints, Ints]:
    """All rows, those together that equal the same distinct row ``which[i]``; where each begins, how many it has."""
    size = np.bincount(which)
    return np.argsort(which, kind="stable"), np.cumsum(size) - size, size


def _every_pair(
    i: Ints, j: Ints, scores: npt.NDArray[np.float64], ours: tuple[Ints, Ints, Ints], theirs: tuple[Ints, Ints, Ints]
) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """From pairs of distinct rows the pairs of all that equal them."""
    (left, left_begin, left_size), (right, right_begin, right_size) = ours, theirs
    number = left_size[i] * right_size[j]
    pair = np.repeat(np.arange(len(i)), number)
    nth = np.arange(len(pair)) - np.repeat(np.cumsum(number) - number, number)
    one, other = np.divmod(nth, right_size[j[pair]])
    return left[left_begin[i[pair]] + one], right[right_begin[j[pair]] + other], scores[pair]


def _equals_too(found: Ints, cosines: Floats, which: Ints, k: int) -> tuple[Ints, Floats]:
    """From the best distinct rows [Q, d] the best ``k`` of all rows; row i equals the distinct row ``which[i]``."""
    equals, begin, size = _equals(which)
    most = min(k, int(size.max()))
    nth = np.arange(most)
    indices = equals[np.minimum(begin[found][..., None] + nth, len(which) - 1)]
    values = np.where(nth < size[found][..., None], cosines[..., None], np.float32(-np.inf))
    indices, values = (part.reshape(len(found), found.shape[1] * most) for part in (indices, values))
    order = np.lexsort((indices, -values), axis=1)[:, :k]
    return np.take_along_axis(indices, order, 1), np.take_along_axis(values, order, 1)


def _faiss(asked: Floats, offered: Floats, k: int, index: str) -> tuple[Ints, Floats]:
    try:
        import faiss
    except ImportError:
        raise InputError("an index needs faiss: pip install 'waystation[retrieval]'") from None
    try:
        engine = faiss.index_factory(offered.shape[1], index, faiss.METRIC_INNER_PRODUCT)
        engine.train(offered)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"faiss makes no index '{index}' of a pool of {len(offered)} rows: {reason}") from None
    engine.add(offered)
    cosines, found = engine.search(asked, k)
    return found, cosines


def _both(left: npt.ArrayLike, left_name: str, right: npt.ArrayLike, right_name: str) -> tuple[Floats, Floats]:
    one, other = _unit_rows(left, left_name), _unit_rows(right, right_name)
    if one.shape[1] != other.shape[1]:
        raise InputError(
            f"{left_name} have width {one.shape[1]} and {right_name} {other.shape[1]}: embed both with one model"
        )
    return one, other


def _unit_rows(rows: npt.ArrayLike, name: str) -> Floats:
    given: npt.NDArray[Any] = np.asarray(rows)
    if given.ndim != 2 or not given.shape[1]:
        raise InputError(f"{name} must be a matrix [rows, width], not of shape {list(given.shape)}")
    values = given.astype(np.float32, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", values, values))
    for row in np.flatnonzero(~np.isfinite(norms)).tolist():
        if not np.isfinite(values[row]).all():
            raise InputError(f"{name}, row {row}: not finite; has the model that made it diverged?")
    unit: Floats = np.divide(values, np.where(norms > 0, norms, 1)[:, None], dtype=np.float32)
    unit += np.float32(0)  # -0.0 becomes 0.0: equal rows have equal bytes
    return unit
