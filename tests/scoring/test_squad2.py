"""SQuAD 2.0 against the published algorithm, step by step over dictionaries as its script has it."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.scoring import metrics, squad2

WORDS = [
    "the",
    "An",
    "cat",
    "Cat.",
    "",
    "--",
    "北京",
    "في البيت",
    "ครับ",
    "हिन्दी",
    "e\u0301",
    "—",
    "שלום",
    "A.N.",
    "«où»",
]
TEXT = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
QUESTION = st.tuples(st.lists(TEXT, max_size=3), TEXT, st.sampled_from([0.0, 0.2, 0.5, 0.9]) | st.floats(-5, 5))
QUESTIONS = st.lists(QUESTION, min_size=1, max_size=8)


def normal(text: str) -> list[str]:
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def of_one(golds: list[str], pred: str) -> tuple[float, float]:
    exact = f1 = 0.0
    for gold in [text for text in golds if normal(text)] or [""]:
        one, other = normal(gold), normal(pred)
        common = sum((Counter(one) & Counter(other)).values())
        exact = max(exact, float(one == other))
        f1 = max(f1, float(one == other) if not one or not other else 2 * common / (len(one) + len(other)))
    return exact, f1


def search(questions: list[tuple[list[str], str, float]], each: list[float]) -> tuple[float, float]:
    """The best mean over all thresholds, question by question in the order of their null scores."""
    now = best = float(sum(not golds for golds, _, _ in questions))
    at = 0.0
    for (golds, pred, null), value in sorted(zip(questions, each, strict=True), key=lambda item: item[0][2]):
        now += value if golds else -1.0 if pred else 0.0
        if now > best + 1e-12:
            best, at = now, null
    return 100 * best / len(questions), at


@given(QUESTIONS, st.sampled_from([1.0, 0.5, 0.3]))
@example([(["the"], "", 0.0), ([], "An", 0.0)], 1.0)
def test_every_figure(questions: list[tuple[list[str], str, float]], threshold: float) -> None:
    golds, preds, nulls = ([item[at] for item in questions] for at in range(3))
    found = squad2.evaluate(golds, preds, nulls, threshold)
    scores = [of_one(*pair) for pair in zip(golds, preds, strict=True)]
    cut = [
        (float(not gold),) * 2 if null > threshold else pair
        for gold, null, pair in zip(golds, nulls, scores, strict=True)
    ]
    for prefix, has in (("", None), ("HasAns_", True), ("NoAns_", False)):
        chosen = [pair for gold, pair in zip(golds, cut, strict=True) if has is None or bool(gold) == has]
        if not chosen:
            assert f"{prefix}f1" not in found
            continue
        assert found[f"{prefix}total"] == len(chosen)
        for at, name in enumerate(("exact", "f1")):
            assert found[prefix + name] == pytest.approx(100 * sum(pair[at] for pair in chosen) / len(chosen))
    for at, name in enumerate(("exact", "f1")):
        best, where = search(questions, [pair[at] for pair in scores])
        assert found[f"best_{name}"] == pytest.approx(best)
        assert found[f"best_{name}_thresh"] == pytest.approx(where)


@given(QUESTIONS)
def test_the_metrics_are_its_figures_without_a_threshold(questions: list[tuple[list[str], str, float]]) -> None:
    golds, preds = [gold for gold, _, _ in questions], [pred for _, pred, _ in questions]
    found = squad2.evaluate(golds, preds)
    assert "best_f1" not in found
    scores = metrics.score(["answer_f1_squad2", "exact_match_squad2", "avna"], golds, preds)
    assert list(scores.values()) == pytest.approx([found["f1"], found["exact"], found["AvNA"]])


def test_by_hand() -> None:
    golds: list[list[str]] = [["cat"], [], ["dog", "a dog"], []]
    found = squad2.evaluate(golds, ["cat", "cat", "", ""], [0.1, 0.8, 0.9, 0.7], 0.75)
    assert found == pytest.approx(
        {
            **{"exact": 75.0, "f1": 75.0, "total": 4, "HasAns_exact": 50.0, "HasAns_f1": 50.0, "HasAns_total": 2},
            **{"NoAns_exact": 100.0, "NoAns_f1": 100.0, "NoAns_total": 2, "AvNA": 75.0},
            **{"best_exact": 75.0, "best_exact_thresh": 0.1, "best_f1": 75.0, "best_f1_thresh": 0.1},
        }
    )


def test_the_versions_differ_where_nothing_is_left_of_an_answer() -> None:
    """SQuAD 1.1 gives F1 0 for no word in common; 2.0 passes over such references, and then there is no answer."""
    names = ["answer_f1", "exact_match", "answer_f1_squad2", "exact_match_squad2"]
    assert list(metrics.score(names, [["The"]], ["the"]).values()) == [0.0, 100.0, 100.0, 100.0]
    assert list(metrics.score(names, [["The", "cat"]], ["the"]).values()) == [0.0, 100.0, 0.0, 0.0]
    assert list(metrics.score(names, [[]], [""]).values()) == [100.0] * 4
    assert list(metrics.score(names, [[]], ["cat"]).values()) == [0.0] * 4


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="no question"):
        squad2.evaluate([], [])
    with pytest.raises(InputError, match="1 answers for 2 questions"):
        squad2.evaluate([[], []], [""])
    with pytest.raises(InputError, match="1 null scores for 2 questions"):
        squad2.evaluate([[], []], ["", ""], [0.5])
    with pytest.raises(InputError, match="null score of question 1 is not a number"):
        squad2.evaluate([[], []], ["", ""], [0.5, float("nan")])
