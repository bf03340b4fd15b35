import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import f1_score as sklearn_f1

from waystation.errors import InputError
from waystation.scoring import metrics, spans

TAGS = st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "B-x-y", "I-x-y", "B", "I"])
PAIRS = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=12), min_size=1, max_size=8)
LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=30)


def split(pairs):
    return [[gold for gold, _ in row] for row in pairs], [[pred for _, pred in row] for row in pairs]


@given(st.lists(TAGS, max_size=20))
def test_entities_agree_with_seqeval(tags):
    assert spans.entities(tags) == [(kind, first, last + 1) for kind, first, last in get_entities(tags)]


@given(PAIRS)
@settings(deadline=None)
def test_entity_f1_agrees_with_seqeval(pairs):
    golds, preds = split(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = seqeval_f1(golds, preds)
        by_type = dict(
            zip(
                sorted({kind for row in golds + preds for kind, _, _ in get_entities(row)}),
                seqeval_f1(golds, preds, average=None),
                strict=True,
            )
        )
    assert metrics.entity_f1(golds, preds) == pytest.approx(100 * expected)
    for kind, value in by_type.items():
        assert metrics.entity_f1(golds, preds, kind) == pytest.approx(100 * value)
        assert metrics.score([f"entity_f1:{kind}"], golds, preds)[f"entity_f1:{kind}"] == pytest.approx(100 * value)


@given(LABELS)
@settings(deadline=None)
def test_label_metrics_agree_with_sklearn(pairs):
    golds, preds = [gold for gold, _ in pairs], [pred for _, pred in pairs]
    assert metrics.macro_f1(golds, preds) == pytest.approx(
        100 * sklearn_f1(golds, preds, average="macro", zero_division=0)
    )
    assert metrics.accuracy(golds, preds) == pytest.approx(100 * np.mean([g == p for g, p in pairs]))
    one = sklearn_f1(golds, preds, labels=["a"], average="macro", zero_division=0)
    assert metrics.class_f1(golds, preds, "a") == pytest.approx(100 * one)


@given(PAIRS)
def test_stored_counts_give_the_same_scores(pairs):
    golds, preds = split(pairs)
    table = np.array([metrics.counts(gold, pred) for gold, pred in zip(golds, preds, strict=True)])
    for name, value in metrics.score(["entity_f1", "token_accuracy"], golds, preds).items():
        assert metrics.from_counts(name, table) == pytest.approx(value)
        without = metrics.from_totals(name, table.sum(0) - table, len(table) - 1)
        assert without[0] == pytest.approx(metrics.score([name], golds[1:], preds[1:])[name])


def test_stored_counts_of_labels():
    golds, preds = list("aab"), list("abb")
    table = [metrics.counts(gold, pred) for gold, pred in zip(golds, preds, strict=True)]
    assert metrics.from_counts("accuracy", table) == metrics.accuracy(golds, preds) == pytest.approx(200 / 3)
    with pytest.raises(InputError, match="cannot be computed from stored counts"):
        metrics.from_counts("entity_f1:A", [[1, 1, 1, 1, 1]])


def test_stray_inside_tags_begin_entities():
    assert spans.entities(["I-A", "I-A", "O", "I-B", "I-A", "B-A"]) == [
        ("A", 0, 2),
        ("B", 3, 4),
        ("A", 4, 5),
        ("A", 5, 6),
    ]
    assert metrics.entity_counts(["B-A", "I-A"], ["I-A", "I-A"]) == (1, 1, 1)


def test_nothing_to_count_is_zero():
    for name in ("entity_f1", "entity_f1:A", "token_accuracy", "accuracy", "macro_f1", "f1:a"):
        assert metrics.score([name], [], []) == {name: 0.0}
    for name in ("entity_f1", "token_accuracy", "accuracy"):
        assert metrics.from_counts(name, []) == 0.0
    assert metrics.score(["entity_f1", "token_accuracy"], [[], ["O"]], [[], ["O"]]) == {
        "entity_f1": 0.0,
        "token_accuracy": 100.0,
    }
    assert spans.entities([]) == []


def test_plain_tags_are_counted_but_hold_no_entities():
    assert metrics.counts(["NOUN", "VERB"], ["NOUN", "NOUN"]) == [0, 0, 0, 1, 2]
    assert metrics.score(["token_accuracy"], [["NOUN", "VERB"]], [["NOUN", "NOUN"]]) == {"token_accuracy": 50.0}
    with pytest.raises(InputError, match="'NOUN' is no entity tag"):
        metrics.entity_f1([["NOUN"]], [["NOUN"]])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("entity_f2", "did you mean 'entity_f1'"),
        ("macrof1", "did you mean 'macro_f1'"),
        ("entity_f1:", "needs a label"),
        ("f1", "needs a label"),
        ("accuracy:a", "did you mean 'accuracy'"),
        ("f1:neutrl", "did you mean 'neutral'"),
    ],
)
def test_bad_metric_names_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        metrics.check(name, labels=["neutral"])


def test_good_metric_names_pass():
    for name in ("entity_f1", "entity_f1:PER", "token_accuracy", "accuracy", "macro_f1", "f1:PER"):
        metrics.check(name, labels=["PER"])


def test_metric_and_examples_must_fit():
    with pytest.raises(InputError, match="scores tags of words"):
        metrics.score(["entity_f1"], ["a"], ["a"])
    with pytest.raises(InputError, match="scores labels"):
        metrics.score(["accuracy"], [["O"]], [["O"]])
    with pytest.raises(InputError, match="2 tags predicted for a sentence of 1 words"):
        metrics.counts(["O"], ["O", "O"])
    with pytest.raises(InputError, match="0 predictions for 1 examples"):
        metrics.accuracy(["a"], [])
