from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, ndcg_score

from waystation.errors import InputError
from waystation.scoring import labels, metrics
from waystation.scoring.labels import Ranked

LABELS = list("abcdefghijkl")
SETS = st.lists(st.sampled_from(LABELS), unique=True, max_size=6)
CORPUS = st.lists(st.tuples(SETS, st.permutations(LABELS), st.integers(0, 12)), min_size=1, max_size=12)


def parted(rows):
    """References; predictions, whose ranking is a permutation and whose labels are the first of it."""
    return [gold for gold, _, _ in rows], [Ranked(order[:above], order[:10]) for _, order, above in rows]


def matrix(corpus, none=False):
    rows = [[label in one for label in LABELS] + ([not one] if none else []) for one in corpus]
    return np.array(rows, int)


@given(CORPUS)
@settings(deadline=None)
def test_f1_agrees_with_sklearn_on_indicator_matrices(rows):
    golds, preds = parted(rows)
    for suffix, none in (("", False), ("_none", True)):
        for average in ("micro", "macro"):
            expected = 100 * f1_score(matrix(golds, none), matrix(preds, none), average=average, zero_division=0)
            name = f"{average}_f1{suffix}"
            assert metrics.score([name], golds, preds, labels=LABELS)[name] == pytest.approx(expected)
    expected = 100 * f1_score(matrix(golds), matrix(preds), average=None, zero_division=0)
    each = metrics.score([f"f1:{label}" for label in LABELS], golds, preds)
    assert list(each.values()) == pytest.approx(list(expected))
    counts = metrics.counts_of(golds, preds)
    assert counts.shape == (len(rows), len(labels.SET_COUNTS))
    assert metrics.from_counts("micro_f1", counts) == pytest.approx(
        metrics.score(["micro_f1"], golds, preds)["micro_f1"]
    )


@given(CORPUS, st.integers(1, 10))
@settings(deadline=None)
def test_ndcg_agrees_with_sklearn(rows, k):
    golds, preds = parted(rows)
    having = [(gold, order) for gold, order, _ in rows if gold]
    expected = 0.0
    if having:
        scores = [[-order.index(label) for label in LABELS] for _, order in having]
        expected = 100 * ndcg_score(matrix([gold for gold, _ in having]), np.array(scores), k=k)
    assert metrics.score([f"ndcg@{k}"], golds, preds)[f"ndcg@{k}"] == pytest.approx(expected)


@given(CORPUS, st.integers(1, 10))
def test_r_precision_is_that_of_its_definition(rows, k):
    """RP@K = 1/N Σ_n Σ_k Rel(n, k) / min(K, R_n)."""
    golds, preds = parted(rows)
    total, texts = 0.0, 0
    for gold, order, _ in rows:
        if gold:
            total += sum(order[place] in gold for place in range(k)) / min(k, len(gold))
            texts += 1
    expected = 100 * total / max(1, texts)
    assert metrics.score([f"r_precision@{k}"], golds, preds)[f"r_precision@{k}"] == pytest.approx(expected)


def test_by_hand():
    golds = [["a", "b"], [], ["c"]]
    preds = [Ranked(["b"], ["b", "c", "a"]), Ranked([], ["a", "b", "c"]), Ranked(["a"], ["a", "c", "b"])]
    found = metrics.score(
        ["micro_f1", "macro_f1", "micro_f1_none", "macro_f1_none", "r_precision@1", "r_precision@2", "ndcg@2", "f1:b"],
        golds,
        preds,
        labels=["a", "b", "c", "d"],
    )
    assert found == pytest.approx(
        {
            "micro_f1": 100 * 2 / 5,
            "macro_f1": 100 / 4,  # d is nowhere and counts
            "micro_f1_none": 100 * 4 / 7,
            "macro_f1_none": 100 * 2 / 5,
            "r_precision@1": 50.0,
            "r_precision@2": 75.0,
            "ndcg@2": 50 * (1 / (1 + 1 / log2(3)) + 1 / log2(3)),
            "f1:b": 100.0,
        }
    )
    assert metrics.counts_of(golds, preds).tolist() == [[1, 1, 2], [0, 0, 0], [0, 1, 1]]


def test_no_examples_score_nothing():
    names = ["micro_f1", "macro_f1", "micro_f1_none", "macro_f1_none", "r_precision@5", "ndcg@5", "f1:a"]
    assert set(metrics.score(names, [], [], labels=LABELS).values()) == {0.0}
    assert metrics.from_counts("micro_f1", []) == 0.0
    assert metrics.score(["r_precision@5", "ndcg@5"], [[]], [Ranked([], ["a"])]) == {"r_precision@5": 0, "ndcg@5": 0}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("r_precision", "metric 'r_precision' needs how many labels to look at: write r_precision@1 to r_precision@10"),
        ("ndcg@11", "needs how many labels"),
        ("ndcg@0", "needs how many labels"),
        ("ndcg@x", "needs how many labels"),
        ("ndcg@05", "needs how many labels"),
        ("ndcg:5", "unknown metric 'ndcg:5'"),
        ("micro_f1@5", "unknown metric 'micro_f1@5'"),
        ("micro_f1:a", "did you mean 'micro_f1'"),
        ("micro_f", "did you mean 'micro_f1'"),
        ("f1:z", "names no label of the task"),
        ("f1", "needs a label: write f1:LABEL"),
    ],
)
def test_names_are_checked(name, says):
    with pytest.raises(InputError) as caught:
        metrics.check(name, LABELS)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_labels_may_hold_any_sign():
    assert metrics.split("f1:a@b:c") == ("f1", ":", "a@b:c") and metrics.split("ndcg@5") == ("ndcg", "@", "5")
    assert metrics.score(["f1:a@b"], [["a@b"]], [Ranked(["a@b"])]) == {"f1:a@b": 100.0}


def test_what_cannot_be_scored_is_told():
    ranked = [Ranked(["a"], ["a"])]
    for name in ("accuracy", "entity_f1", "answer_f1"):
        with pytest.raises(InputError, match=f"metric '{name}' scores .*; these examples have none"):
            metrics.score([name], [["a"]], ranked)
    with pytest.raises(InputError, match="metric 'ndcg@5' scores sets of labels; these examples have none"):
        metrics.score(["ndcg@5"], ["a"], ["a"])
    with pytest.raises(InputError, match="metric 'macro_f1' needs the labels of the task"):
        metrics.score(["macro_f1"], [["a"]], ranked)
    with pytest.raises(InputError, match="1 predictions for 2 examples"):
        metrics.score(["micro_f1"], [["a"], []], ranked)
