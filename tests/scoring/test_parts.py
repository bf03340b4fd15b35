"""What examples put into each metric: the score, the score of any weighting, of all but one, and influence values."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score as sklearn_f1

from waystation.errors import InputError
from waystation.scoring import metrics, parts
from waystation.scoring.labels import Ranked

Corpus = tuple[list[Any], list[Any]]
LABELS = ("a", "b", "c", "ด")


def tagged(tags: list[str]) -> Callable[[random.Random], Corpus]:
    def made(draw: random.Random) -> Corpus:
        golds = [[draw.choice(tags) for _ in range(draw.randint(0, 6))] for _ in range(draw.randint(1, 8))]
        return golds, [[tag if draw.random() < 0.6 else draw.choice(tags) for tag in gold] for gold in golds]

    return made


def labelled(draw: random.Random) -> Corpus:
    n = draw.randint(1, 8)
    return [draw.choice("abc") for _ in range(n)], [draw.choice("abd") for _ in range(n)]


def mined(draw: random.Random) -> Corpus:
    n = draw.randint(1, 8)
    return [draw.choice(["", "x", "y"]) for _ in range(n)], [draw.choice(["", "x", "y"]) for _ in range(n)]


def sets(draw: random.Random) -> Corpus:
    def some() -> list[str]:
        return draw.sample(LABELS, draw.randint(0, 3))

    n = draw.randint(1, 6)
    return [some() for _ in range(n)], [Ranked(some(), draw.sample(LABELS, 4)) for _ in range(n)]


def answered(draw: random.Random) -> Corpus:
    words = ["the", "cat", "北京", "", "في", "ครับ", "हि", "e\u0301", "the cat"]
    n = draw.randint(1, 6)
    golds = [draw.sample(words, draw.randint(0, 2)) for _ in range(n)]
    return golds, [draw.choice(words) for _ in range(n)]


CORPORA: dict[str, Callable[[random.Random], Corpus]] = {
    **dict.fromkeys(("entity_f1", "entity_f1:A", "entity_f1_strict", "entity_f1_strict:B"),
                    tagged(["O", "O", "B-A", "I-A", "B-B", "I-B"])),
    **dict.fromkeys(("pos_f1_xtreme", "pos_f1_xtreme_0.0.12", "token_accuracy"),
                    tagged(["NOUN", "NOUN", "VERB", "ADJ", "SYM"])),
    **dict.fromkeys(("accuracy", "macro_f1", "macro_f1_all", "f1:b", "retrieval_accuracy"), labelled),
    "mining_f1": mined,
    **dict.fromkeys(("answer_f1", "exact_match", "answer_f1_mlqa", "exact_match_mlqa", "answer_f1_squad2",
                     "exact_match_squad2", "avna"), answered),
}  # fmt: skip
OF_SETS = ("micro_f1", "macro_f1", "f1:b", "micro_f1_none", "macro_f1_none", "r_precision@2", "ndcg@3")
CASES = [*CORPORA.items(), *((f"{name} of sets", sets) for name in OF_SETS)]
every_metric = pytest.mark.parametrize(("case", "corpus"), CASES, ids=[name for name, _ in CASES])
seeds = st.randoms(use_true_random=False)


def split(case: str) -> str:
    return case.removesuffix(" of sets")


def scored(name: str, golds: list[Any], preds: list[Any]) -> float:
    return metrics.score([name], golds, preds, "zh", LABELS)[name]


@every_metric
@settings(max_examples=25)
@given(draw=seeds)
def test_they_give_the_score(case: str, corpus: Callable[[random.Random], Corpus], draw: random.Random) -> None:
    name, (golds, preds) = split(case), corpus(draw)
    found = parts.parts(name, golds, preds, "zh", LABELS)
    assert found.score() == pytest.approx(scored(name, golds, preds), abs=1e-9)
    assert found.examples == len(golds)


@every_metric
@settings(max_examples=25)
@given(draw=seeds)
def test_whole_weights_are_repeated_examples(
    case: str, corpus: Callable[[random.Random], Corpus], draw: random.Random
) -> None:
    """Also where examples repeat as a bootstrap draws them, and for many weightings at once."""
    name, (golds, preds) = split(case), corpus(draw)
    weights = [[draw.choice([0, 1, 1, 2]) for _ in golds] for _ in range(2)]
    found = parts.parts(name, golds, preds, "zh", LABELS).score(weights)
    for row, value in zip(weights, found, strict=True):
        rows = [at for at, times in enumerate(row) for _ in range(times)]
        assert value == pytest.approx(scored(name, [golds[at] for at in rows], [preds[at] for at in rows]), abs=1e-9)


@every_metric
@settings(max_examples=25)
@given(draw=seeds)
def test_all_but_one(case: str, corpus: Callable[[random.Random], Corpus], draw: random.Random) -> None:
    name, (golds, preds) = split(case), corpus(draw)
    found = parts.parts(name, golds, preds, "zh", LABELS).without_each()
    each = [
        scored(name, golds[:at] + golds[at + 1 :], preds[:at] + preds[at + 1 :]) if len(golds) > 1 else 0.0
        for at in range(len(golds))
    ]
    assert found == pytest.approx(each, abs=1e-9)


@every_metric
@settings(max_examples=25)
@given(draw=seeds)
def test_influence_is_the_slope_of_the_score(
    case: str, corpus: Callable[[random.Random], Corpus], draw: random.Random
) -> None:
    name, (golds, preds) = split(case), corpus(draw)
    found = parts.parts(name, golds, preds, "zh", LABELS)
    n, step = len(golds), 1e-6
    influence = found.influence()
    assert influence.sum() == pytest.approx(0, abs=1e-6)
    shares = np.ones(n) / n
    for at in range(n):
        towards = shares + step * (np.eye(n)[at] - shares)
        assert influence[at] == pytest.approx((found.score(towards) - found.score()) / step, abs=0.05)


def test_the_influence_of_a_mean_gives_its_standard_error() -> None:
    golds, preds = list("aaaaabbbbb"), list("aaabbbbbaa")
    influence = parts.parts("accuracy", golds, preds).influence()
    right = np.array([gold == pred for gold, pred in zip(golds, preds, strict=True)])
    assert np.sqrt((influence**2).sum()) / 10 == pytest.approx(100 * right.std() / np.sqrt(10))


def test_counts_by_label() -> None:
    found = parts.tally("entity_f1", [["B-A", "I-A"], ["B-B"]], [["B-A", "O"], ["B-B"]])
    table = {found.labels[label]: found.counts[found.label == label].tolist() for label in set(found.label.tolist())}
    assert table == {"A": [[0, 1, 1]], "B": [[1, 1, 1]]} and found.totals().tolist() == [1, 2, 2]
    found = parts.tally("macro_f1", ["a", "b"], ["a", "c"])
    assert found.labels == ("a", "b", "c") and found.example.tolist() == [0, 1, 1]
    assert found.counts.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 0]]
    found = parts.tally("pos_f1_xtreme_0.0.12", [["NOUN", "X"]], [["NOUN", "NOUN"]])
    assert {"NOUN", "X"} <= set(found.labels) and found.totals().tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="'accuracy' has no counts by label"):
        parts.tally("accuracy", ["a"], ["a"])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abd")), min_size=1, max_size=12))
def test_macro_f1_over_all_labels_is_sklearns(pairs: list[tuple[str, str]]) -> None:
    golds, preds = [gold for gold, _ in pairs], [pred for _, pred in pairs]
    expected = sklearn_f1(golds, preds, labels=list("abcde"), average="macro", zero_division=0)
    found = metrics.score(["macro_f1_all"], golds, preds, labels=list("abcde"))["macro_f1_all"]
    assert found == pytest.approx(100 * expected)


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="1 predictions for 2 examples"):
        parts.parts("accuracy", ["a", "b"], ["a"])
    with pytest.raises(InputError, match="scores tags of words"):
        parts.parts("entity_f1", ["a"], ["a"])
    with pytest.raises(InputError, match="'macro_f1_all' needs the labels of the task"):
        parts.parts("macro_f1_all", ["a"], ["a"])
    with pytest.raises(InputError, match="weights of shape"):
        parts.parts("accuracy", ["a"], ["a"]).score([1, 2])


@pytest.mark.parametrize("name", ["accuracy", "entity_f1", "macro_f1", "answer_f1", "pos_f1_xtreme"])
def test_nothing_to_score_is_zero(name: str) -> None:
    found = parts.parts(name, [], [])
    assert found.score() == 0.0 and len(found.influence()) == len(found.without_each()) == 0
