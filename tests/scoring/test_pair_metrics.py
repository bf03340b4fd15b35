from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.scoring import metrics, parts, retrieval
from waystation.scoring.retrieval import Mined

pairs = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "a", "b", "c"])), max_size=30)


@given(pairs)
def test_mining_f1_is_that_of_two_sets_of_pairs(rows: list[tuple[str, str]]) -> None:
    wanted = {(n, gold) for n, (gold, _) in enumerate(rows) if gold}
    found = {(n, pred) for n, (_, pred) in enumerate(rows) if pred}
    right = len(wanted & found)
    precision, recall = right / len(found) if found else 0.0, right / len(wanted) if wanted else 0.0
    expected = 200 * precision * recall / (precision + recall) if right else 0.0
    golds, preds = [gold for gold, _ in rows], [pred for _, pred in rows]
    assert metrics.score(["mining_f1"], golds, preds)["mining_f1"] == pytest.approx(expected)
    counts = [metrics.pair_counts(gold, pred) for gold, pred in rows]
    assert metrics.from_counts("mining_f1", counts) == pytest.approx(expected)


@given(pairs)
def test_retrieval_accuracy_is_the_share_of_right_ids(rows: list[tuple[str, str]]) -> None:
    golds, preds = [gold for gold, _ in rows], [pred for _, pred in rows]
    expected = 100 * sum(gold == pred for gold, pred in rows) / max(1, len(rows))
    assert metrics.score(["retrieval_accuracy"], golds, preds)["retrieval_accuracy"] == pytest.approx(expected)
    counts = [metrics.counts(gold, pred) for gold, pred in rows]
    assert metrics.from_counts("retrieval_accuracy", counts) == pytest.approx(expected)


def test_they_take_no_label_and_no_tags() -> None:
    for name in ("mining_f1", "mining_f1_halves", "retrieval_accuracy"):
        with pytest.raises(InputError, match=f"did you mean '{name}'"):
            metrics.check(f"{name}:x")
        with pytest.raises(InputError, match=r"scores (labels|mined pairs)"):
            metrics.score([name], [["O"]], [["O"]])


MINED = st.lists(
    st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["", "a", "b"]), st.sampled_from([0.5, 1.0, 1.1, 1.2])),
    max_size=12,
)


def columns(rows: list[tuple[str, str, float]]) -> tuple[list[str], list[str], list[float]]:
    nan = float("nan")  # what is stored where nothing was found
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] if row[1] else nan for row in rows]


@given(MINED)
def test_the_own_threshold_is_the_best_of_all(rows: list[tuple[str, str, float]]) -> None:
    golds, preds, scores = columns(rows)
    tried = [metrics.mining_f1(golds, retrieval.keep(preds, scores, at)) for at in (0.0, 0.7, 1.05, 1.15, 1.3)]
    found = metrics.mining_f1(golds, retrieval.keep(preds, scores, retrieval.threshold_of(golds, preds, scores)))
    assert found == pytest.approx(max(tried))


def test_a_threshold_of_other_sentences_is_held_to() -> None:
    dev = columns([("a", "a", 1.2), ("", "b", 1.1), ("b", "b", 1.15)])
    assert retrieval.threshold_of(*dev) == pytest.approx(1.125)
    golds, preds, scores = columns([("a", "a", 1.12), ("b", "b", 1.2), ("", "a", 1.3), ("a", "", 1.0)])
    kept = retrieval.keep(preds, scores, retrieval.threshold_of(*dev))
    assert kept == ["", "b", "a", ""] and metrics.mining_f1(golds, kept) == pytest.approx(40.0)


@given(MINED)
def test_halves_are_cut_by_each_other(rows: list[tuple[str, str, float]]) -> None:
    golds, preds, scores = columns(rows)
    kept = retrieval.keep_by_halves(golds, preds, scores)
    for half in (0, 1):
        other = retrieval.threshold_of(golds[1 - half :: 2], preds[1 - half :: 2], scores[1 - half :: 2])
        assert kept[half::2] == retrieval.keep(preds[half::2], scores[half::2], other)


def f1_of_halves(rows: list[tuple[str, str, float]], name: str = "mining_f1_halves") -> float:
    golds, preds, scores = columns(rows)
    return metrics.score([name], golds, list(map(Mined, preds, scores)))[name]


@given(MINED)
def test_f1_of_halves_is_that_of_what_they_keep(rows: list[tuple[str, str, float]]) -> None:
    golds, preds, scores = columns(rows)
    expected = metrics.mining_f1(golds, retrieval.keep_by_halves(golds, preds, scores))
    assert f1_of_halves(rows) == pytest.approx(expected)
    mined = list(map(Mined, preds, scores))
    assert parts.parts("mining_f1_halves", golds, mined).score() == pytest.approx(expected)
    assert f1_of_halves(rows, "mining_f1") == pytest.approx(metrics.mining_f1(golds, preds)), "as they come"


@given(MINED)
def test_margins_that_cut_nothing_change_nothing(rows: list[tuple[str, str, float]]) -> None:
    sure = [(gold, pred, float("inf")) for gold, pred, _ in rows]
    assert f1_of_halves(sure) == pytest.approx(metrics.mining_f1(*columns(rows)[:2]))


def test_a_threshold_is_not_its_own_halfs() -> None:
    """Every even pair is right from 1.2 on, every odd one from 1.1 on: each half is cut as the other would be."""
    rows = [("a", "a", 1.25), ("a", "a", 1.15), ("", "b", 1.15), ("", "b", 1.05)]
    golds, preds, scores = columns(rows)
    assert retrieval.keep_by_halves(golds, preds, scores) == ["a", "", "b", ""]
    assert f1_of_halves(rows) == pytest.approx(50.0)
    own = retrieval.keep(preds, scores, retrieval.threshold_of(golds, preds, scores))
    assert metrics.mining_f1(golds, own) == pytest.approx(80.0), "the own threshold is an upper bound"


def test_halves_need_margins() -> None:
    with pytest.raises(InputError, match="'mining_f1_halves' scores mined pairs with their margins"):
        metrics.score(["mining_f1_halves"], ["a"], ["a"])
    with pytest.raises(InputError, match="'mining_f1_halves' cannot be computed from stored counts"):
        metrics.from_counts("mining_f1_halves", [[1, 1, 1]])
    with pytest.raises(InputError, match=r"did you mean 'mining_f1_halves'"):
        metrics.check("mining_f1_halfs")
