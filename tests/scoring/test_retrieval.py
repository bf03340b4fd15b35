from __future__ import annotations

import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.scoring import retrieval
from waystation.scoring.retrieval import best_threshold, mine, nearest, retrieval_accuracy, top_k


def by_hand(queries: np.ndarray, pool: np.ndarray) -> list[int]:
    """One pair at a time, in float64: the first row with the highest cosine."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        size = float(np.sqrt((a * a).sum()) * np.sqrt((b * b).sum()))
        return float((a * b).sum()) / size if size else 0.0

    scores = [[cosine(query, row) for row in pool] for query in queries.astype(float)]
    return [max(range(len(pool)), key=lambda i, row=row: (row[i], -i)) for row in scores]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_same_as_by_hand(queries: int, pool: int, width: int, seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    asked, offered = rng.normal(size=(queries, width)), rng.normal(size=(pool, width))
    if width == 1:  # every cosine is 1 or -1: signs alone keep ties exact
        asked, offered = np.sign(asked), np.sign(offered)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "TILE", (block, block))
        found = nearest(asked, offered)
    assert found.dtype == np.int64
    assert found.tolist() == by_hand(asked, offered)


def test_cosine_not_length() -> None:
    assert nearest([[1.0, 0.1]], [[100.0, 100.0], [0.01, 0.0]]).tolist() == [1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ties_go_to_the_lowest_index(dtype: type[np.floating]) -> None:
    """Equal rows at odd places, in sizes where a matrix product treats its edges differently."""
    rng = np.random.default_rng(3)
    pool = rng.normal(size=(517, 45)).astype(dtype)
    pool[[77, 300, 516]] = pool[5]
    pool[516] *= 2
    pool[[80, 81]] = 0.0
    pool[80] = -0.0
    queries = (pool[5] + rng.normal(size=(33, 45)) * 0.01).astype(dtype)
    assert set(nearest(queries, pool).tolist()) == {5}
    assert nearest(np.zeros((1, 45)), pool).tolist() == [0], "no direction: everything ties"


def test_memory_stays_small() -> None:
    rng = np.random.default_rng(4)
    pool = rng.normal(size=(20_000, 8)).astype(np.float32)
    tracemalloc.start()
    found = nearest(pool[::4], pool)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found == np.arange(0, 20_000, 4)).all()
    assert peak < 200e6, "the whole matrix of cosines would take 400 MB"


def test_accuracy_in_points() -> None:
    pool = np.eye(4)
    assert retrieval_accuracy(pool, pool) == 100.0
    assert retrieval_accuracy(pool[[0, 1, 3, 2]], pool) == 50.0
    assert retrieval_accuracy(pool[[1, 2, 3, 0]], pool) == 0.0
    assert type(retrieval_accuracy(pool, pool)) is float


def test_of_equal_answers_only_the_first_counts() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert retrieval_accuracy(rows, rows) == pytest.approx(200 / 3)


def test_no_queries() -> None:
    assert nearest(np.zeros((0, 3)), np.ones((2, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("queries", "pool", "message"),
    [
        (np.ones(3), np.ones((2, 3)), "queries must be a matrix"),
        (np.ones((2, 3)), np.ones((2, 3, 1)), "pool must be a matrix"),
        (np.ones((2, 3)), np.ones((2, 4)), "width 3 and pool 4"),
        (np.ones((2, 3)), np.ones((0, 3)), "pool has no rows"),
        (np.ones((2, 3)), np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]]), "pool, row 1: not finite"),
        (np.array([[np.inf, 1.0, 1.0]]), np.ones((2, 3)), "queries, row 0: not finite"),
        (np.ones((2, 3)), np.ones((3, 3)), "2 queries and 3 pool rows"),
    ],
)
def test_misuse_is_named(queries: np.ndarray, pool: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        retrieval_accuracy(queries, pool)


def drawn(seed: int, rows: int, kind: str) -> np.ndarray:
    """Embeddings: "signs" have cosines that float32 holds exactly and many ties, and repeat; some rows are zero."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(rows, 5)) if kind == "any" else rng.choice([-1.0, 1.0], (rows, 4))
    found[rng.random(rows) < 0.1] = 0.0
    return found


def unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


KINDS = st.sampled_from(["any", "signs"])
SEEDS, SIZES, TILES, KS = st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 9)


@settings(max_examples=200, deadline=None)
@given(SEEDS, SIZES, SIZES, KINDS, KS, TILES, TILES)
def test_top_k_is_the_head_of_a_stable_sort(
    seed: int, queries: int, pool: int, kind: str, k: int, high: int, wide: int
) -> None:
    asked, offered = drawn(seed, queries, kind), drawn(seed + 1, pool, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "TILE", (high, wide))
        found, cosines = top_k(asked, offered, k)
    assert found.dtype == np.int64 and cosines.dtype == np.float32
    assert found.shape == cosines.shape == (queries, min(k, pool))
    exact = unit(asked) @ unit(offered).T
    assert np.take_along_axis(exact, found, 1) == pytest.approx(cosines, abs=1e-6)
    assert -np.sort(-exact, axis=1)[:, :k] == pytest.approx(cosines, abs=1e-6)
    if kind == "signs":
        assert (found == np.argsort(-exact, axis=1, kind="stable")[:, :k]).all()


def published(left: np.ndarray, right: np.ndarray, k: int) -> list[tuple[int, int, float]]:
    """The published procedure a sentence at a time, on texts of which none occurs twice."""
    cosine = unit(left) @ unit(right).T
    near = [sorted(range(len(right)), key=lambda j, i=i: -cosine[i, j])[:k] for i in range(len(left))]
    near_back = [sorted(range(len(left)), key=lambda i, j=j: -cosine[i, j])[:k] for j in range(len(right))]
    mean = [sum(cosine[i, j] for j in row) / len(row) for i, row in enumerate(near)]
    mean_back = [sum(cosine[i, j] for i in row) / len(row) for j, row in enumerate(near_back)]

    def margin(i: int, j: int) -> float:
        usual = (mean[i] + mean_back[j]) / 2
        return float(cosine[i, j] / usual) if usual else 0.0

    proposals = [max(((margin(i, j), i, j) for j in row), key=lambda it: it[0]) for i, row in enumerate(near)]
    proposals += [max(((margin(i, j), i, j) for i in row), key=lambda it: it[0]) for j, row in enumerate(near_back)]
    pairs: list[tuple[int, int, float]] = []
    for score, i, j in sorted(proposals, key=lambda it: -it[0]):
        if i not in {pair[0] for pair in pairs} and j not in {pair[1] for pair in pairs}:
            pairs.append((i, j, score))
    return pairs


@settings(max_examples=200, deadline=None)
@given(SEEDS, SIZES, SIZES, KINDS, st.integers(1, 6), TILES, TILES)
def test_mining_is_the_published_procedure(
    seed: int, ours: int, theirs: int, kind: str, k: int, high: int, wide: int
) -> None:
    left, right = drawn(seed, ours, kind), drawn(seed + 1, theirs, kind)
    if kind == "any":
        left, right = abs(left), abs(right)  # positive cosines, as of sentences: margins are well conditioned
    first = [sorted(np.unique(unit(rows), axis=0, return_index=True)[1].tolist()) for rows in (left, right)]
    expected = [
        (one, other, score)
        for i, j, score in published(left[first[0]], right[first[1]], k)
        for one in np.flatnonzero((unit(left) == unit(left)[first[0][i]]).all(1)).tolist()
        for other in np.flatnonzero((unit(right) == unit(right)[first[1][j]]).all(1)).tolist()
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "TILE", (high, wide))
        i, j, score = mine(left, right, k)
    if kind == "signs":
        assert list(zip(i.tolist(), j.tolist(), score.tolist(), strict=True)) == expected
    else:
        by_pair = {(a, b): value for a, b, value in expected}
        assert dict(zip(zip(i.tolist(), j.tolist(), strict=True), score, strict=True)) == pytest.approx(
            by_pair, rel=1e-5
        )
        assert (np.diff(score) <= 0).all()
    assert i.dtype == j.dtype == np.int64


def test_equal_sentences_are_mined_once_and_given_with_all_their_rows() -> None:
    rng = np.random.default_rng(5)
    left = rng.normal(size=(30, 8)).astype(np.float32)
    right = left + 0.1 * rng.normal(size=left.shape).astype(np.float32)
    i, j, score = mine(left, right)
    assert sorted(zip(i, j, strict=True)) == [(at, at) for at in range(30)]
    assert score.tolist() == mine(left, right, 4)[2].tolist() != mine(left, right, 5)[2].tolist()
    twice = np.concatenate([left, left[::-1]]), np.concatenate([right, right])
    again = mine(*twice)
    expected = [
        (one, other, points)
        for at, to, points in zip(i.tolist(), j.tolist(), score.tolist(), strict=True)
        for one in (at, 59 - at)
        for other in (to, to + 30)
    ]
    assert list(zip(*(part.tolist() for part in again), strict=True)) == expected


def test_zero_has_no_sign() -> None:
    right = [[1.0, 0.0], [1.0, 2.0], [0.0, 1.0]]
    plain, signed = (mine([[1.0, 0.0], [1.0, zero], [0.0, 1.0]], right, 2) for zero in (0.0, -0.0))
    for one, other in zip(plain, signed, strict=True):
        assert one.tolist() == other.tolist()


def test_nothing_to_mine() -> None:
    for left, right in ((0, 3), (3, 0), (0, 0)):
        assert [len(part) for part in mine(np.ones((left, 2)), np.ones((right, 2)))] == [0, 0, 0]


def test_numpy_and_onednn_find_the_same() -> None:
    torch = pytest.importorskip("torch")
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    rng = np.random.default_rng(6)
    left, right = rng.normal(size=(150, 33)), rng.normal(size=(170, 33))
    with_torch = top_k(left, right, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        without = top_k(left, right, 5)
    assert (with_torch[0] == without[0]).all()
    assert with_torch[1] == pytest.approx(without[1], abs=1e-6)


def test_faiss_finds_the_same() -> None:
    pytest.importorskip("faiss", reason="needs faiss: pip install 'waystation[retrieval]'")
    rng = np.random.default_rng(7)
    queries, pool = rng.normal(size=(40, 16)), rng.normal(size=(500, 16))
    expected = top_k(queries, pool, 3)
    found, cosines = top_k(queries, pool, 3, index="Flat")
    assert found.dtype == np.int64 and (found == expected[0]).all()
    assert cosines == pytest.approx(expected[1], abs=1e-6)
    near, _ = top_k(queries, pool, 3, index="IVF8,Flat")
    assert (near[:, 0] == found[:, 0]).mean() > 0.2, "of 8 cells it looks into one"
    with pytest.raises(InputError, match="faiss makes no index 'Flatt'"):
        top_k(queries, pool, 3, index="Flatt")


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'waystation\[retrieval\]'"):
        top_k(np.ones((1, 2)), np.ones((1, 2)), 1, index="Flat")


def test_a_cosine_that_is_higher_by_a_hair(monkeypatch: pytest.MonkeyPatch) -> None:
    cosine = 0.5 + 6e-8 * np.arange(50)
    pool = np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)
    monkeypatch.setattr(retrieval, "TILE", (1, 1))
    for rows in range(2, 50):
        every, cosines = top_k([[1.0, 0.0]], pool[:rows], rows)
        assert np.ptp(cosines[0, :2]) < 2e-7
        assert nearest([[1.0, 0.0]], pool[:rows]) == every[0, 0]


@pytest.mark.parametrize("index", [None, "Flat"])
def test_more_neighbours_than_rows(index: str | None) -> None:
    if index:
        pytest.importorskip("faiss", reason="needs faiss: pip install 'waystation[retrieval]'")
    pool = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found, cosines = top_k([[1.0, 0.0], [0.0, 2.0]], pool, 9, index)
    assert found.shape == (2, 3)
    assert sorted(found[0].tolist()) == [0, 1, 2] and found[1, 0] == 1
    assert cosines.tolist() == [[1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("search", [top_k, mine])
def test_k_is_checked(search) -> None:
    with pytest.raises(InputError, match="k is 0"):
        search(np.ones((1, 2)), np.ones((1, 2)), 0)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=12), st.integers(0, 5))
def test_best_threshold_beats_every_other(pairs: list[tuple[int, bool]], more: int) -> None:
    scores, right = [score for score, _ in pairs], [is_right for _, is_right in pairs]
    gold = sum(right) + more

    def f1(threshold: float) -> float:
        kept = [is_right for score, is_right in pairs if score >= threshold]
        return 200 * sum(kept) / (len(kept) + gold) if kept else 0.0

    threshold, points = best_threshold(scores, right, gold)
    assert points == pytest.approx(f1(threshold)) == pytest.approx(max([0.0, *map(f1, scores)]))
    if any(right):
        last = min(score for score in scores if score >= threshold)
        dropped = [score for score in scores if score < threshold]
        assert threshold == ((last + max(dropped)) / 2 if dropped else last)
    else:
        assert threshold == math.inf


def test_best_threshold_lies_half_way() -> None:
    assert best_threshold([3.0, 2.0, 1.0], [True, False, False], 1) == (2.5, 100.0)
    assert best_threshold([1.0, 3.0, 2.0], [False, True, True], 4) == (1.5, pytest.approx(200 * 2 / 6))
    assert best_threshold([4.0, 3.0, 2.0, 1.0], [True, False, False, True], 2)[0] == 3.5, "of equals the shorter list"
    close = np.nextafter(1.0, 2.0)
    assert best_threshold([close, 1.0], [True, False], 1) == (close, 100.0)
