from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.scoring import metrics

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
    for name in ("mining_f1", "retrieval_accuracy"):
        with pytest.raises(InputError, match=f"did you mean '{name}'"):
            metrics.check(f"{name}:x")
        with pytest.raises(InputError, match="scores labels"):
            metrics.score([name], [["O"]], [["O"]])
