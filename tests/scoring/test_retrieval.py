from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.scoring import retrieval
from waystation.scoring.retrieval import nearest, retrieval_accuracy


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
        patch.setattr(retrieval, "_BLOCK_VALUES", block)
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
