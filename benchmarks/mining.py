"""Mining of translated pairs against the published procedure: faiss's flat search both ways, pairs merged in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import Case, Result, Settings, measure
from waystation.models import linear
from waystation.scoring import retrieval

ROWS_OF_EACH, QUICK_ROWS, WIDTH, NEIGHBOURS = 20_000, 5_000, 384, 4
FAISS, PRODUCTS = "faiss, merged in Python", "the two matmuls alone"

Floats = npt.NDArray[np.float32]
Mined = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]


def embeddings(rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Unit vectors of two languages, float32 [rows, WIDTH]: half of each have a translation, nearer or further."""
    rng = np.random.default_rng(seed)
    left, right = (_unit(rng.standard_normal((rows, WIDTH), np.float32)) for _ in range(2))
    known = rng.permutation(rows)[: rows // 2]
    noise = rng.uniform(0.5, 4.0, (len(known), 1)).astype(np.float32)
    right[rng.permutation(rows)[: len(known)]] = _unit(left[known] + noise * right[: len(known)])
    return left, right


def _unit(rows: Floats) -> Floats:
    found: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def published(left: Floats, right: Floats, k: int = NEIGHBOURS) -> Mined:
    """Artetxe and Schwenk (2019): ratio margin, each sentence's best of k, the best of both directions first."""
    out, there = _search(left, right, k)
    home, back = _search(right, left, k)
    out_mean, home_mean = out.mean(1), home.mean(1)
    margins, back_margins = np.empty_like(out), np.empty_like(home)
    for i in range(len(left)):
        for n in range(k):
            margins[i, n] = out[i, n] / ((out_mean[i] + home_mean[there[i, n]]) / 2)
    for j in range(len(right)):
        for n in range(k):
            back_margins[j, n] = home[j, n] / ((home_mean[j] + out_mean[back[j, n]]) / 2)
    best, back_best = margins.argmax(1), back_margins.argmax(1)
    pairs = [(margins[i, n], i, there[i, n]) for i, n in enumerate(best)]
    pairs += [(back_margins[j, n], back[j, n], j) for j, n in enumerate(back_best)]
    taken, found, kept = set[int](), set[int](), []
    for score, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if i not in taken and j not in found:
            taken.add(i)
            found.add(j)
            kept.append((i, j, score))
    lefts, rights, scores = zip(*kept, strict=True)
    return np.array(lefts), np.array(rights), np.array(scores, np.float64)


def _search(queries: Floats, pool: Floats, k: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    index = faiss.IndexFlatIP(pool.shape[1])
    index.add(pool)
    found: tuple[Floats, npt.NDArray[np.int64]] = index.search(queries, k)
    return found


def products(left: Floats, right: Floats, times: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """All cosines of both directions, in tiles as ours are (a whole matrix takes longer), each thrown away."""
    one, other = (torch.from_numpy(rows).split(size) for rows, size in zip((left, right), retrieval.TILE, strict=True))
    for queries, pool in ((one, other), (other, one)):
        for query, answer in product(queries, pool):
            times(query, answer)


def agree(found: Mapping[str, Any]) -> None:
    """The same pairs with the same scores."""
    each = []
    for i, j, score in (found["ours"], found[FAISS]):
        order = np.argsort(i)
        each.append((i[order], j[order], score[order]))
    (i, j, score), (other_i, other_j, other_score) = each
    assert np.array_equal(i, other_i) and np.array_equal(j, other_j), "other pairs"
    np.testing.assert_allclose(score, other_score, rtol=0, atol=1e-5)


def mining(settings: Settings) -> Result:
    """The two products alone may take two thirds of our time: a ratio of 0.67, by either library."""
    left, right = embeddings(QUICK_ROWS if settings.quick else ROWS_OF_EACH)
    theirs: dict[str, Callable[[], Any]] = {
        FAISS: lambda: published(left, right),
        PRODUCTS: lambda: products(left, right, lambda a, b: a @ b.T),
    }
    if linear.onednn():
        theirs[f"{PRODUCTS}, oneDNN"] = lambda: products(left, right, lambda a, b: linear.product(a, b, None))
    targets = dict.fromkeys(theirs, 0.67) | {FAISS: 2.0}
    note = f"{len(left)} x {len(right)} made unit vectors of {WIDTH}, half of them with a translation, k = {NEIGHBOURS}"
    case = Case("mining", targets, lambda: retrieval.mine(left, right, NEIGHBOURS), theirs, agree, note)
    return measure(case, settings)


ROWS = {"mining": mining}
