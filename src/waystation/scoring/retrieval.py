"""Retrieval of translations: exact nearest neighbours by cosine.

Protocol of XTREME's Tatoeba as run by jiant, the code base of the intermediate-task study of Phang et al. (2020):
embeddings are L2-normalised, every sentence of one language queries the pool of the other, and the accuracy of its
top hit is reported. The study queries in English. Numpy alone; no index, no approximation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError

_BLOCK_VALUES = 2**24
"""Cosines held at a time: 64 MiB in float32."""


def nearest(queries: npt.ArrayLike, pool: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """For each query the row of the pool with the highest cosine.

    ``queries`` [Q, H] and ``pool`` [P, H] hold one embedding a row, P ≥ 1; float64 is kept, all else is computed in
    float32. Returns int64 [Q]. Of equal pool rows the first is returned, whatever the block sizes; a row of zeros has
    cosine 0 to everything. Memory is O((Q + P)·H) and one block of cosines, never Q·P.

    Raises InputError where shapes do not fit or a value is not finite.
    """
    asked, offered = _unit_rows(queries, "queries"), _unit_rows(pool, "pool")
    if asked.shape[1] != offered.shape[1]:
        raise InputError(f"queries have width {asked.shape[1]} and pool {offered.shape[1]}: embed both with one model")
    if not len(offered):
        raise InputError("pool has no rows: nothing can be found in it")
    # Equal rows can get cosines that differ in the last bit by their place in a block; so each distinct row competes
    # once, under its first index.
    first: dict[bytes, int] = {}
    for index, row in enumerate(offered):
        first.setdefault(row.tobytes(), index)
    index_of = np.fromiter(first.values(), np.int64, len(first))
    distinct = offered[index_of]
    found = np.empty(len(asked), np.int64)
    step = max(1, _BLOCK_VALUES // len(distinct))
    for start in range(0, len(asked), step):
        cosines = asked[start : start + step] @ distinct.T
        found[start : start + step] = index_of[cosines.argmax(axis=1)]
    return found


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


def _unit_rows(rows: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    given = np.asarray(rows)
    if given.ndim != 2:
        raise InputError(f"{name} must be a matrix [rows, width], not of shape {list(given.shape)}")
    values = given.astype(np.float64 if given.dtype == np.float64 else np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise InputError(f"{name}, row {bad[0]}: not finite; has the model that made it diverged?")
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    # Adding 0.0 turns -0.0 into 0.0, so that equal rows have equal bytes.
    return np.ascontiguousarray(values / np.where(norms > 0, norms, 1) + 0.0)
