import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.scoring import answers, metrics

ANSWERS = st.lists(st.sampled_from(["The", "a", "cat", "Cat.", "cats", "1,000", "$5", "«où»", "an", "—", "e\u0301"]))
TEXT = ANSWERS.map(" ".join) | st.text("aT .-'the\t\u00a0日", max_size=12)
MLQA = ("ar", "de", "en", "es", "hi", "vi", "zh")


def f1(gold: list[str], pred: str) -> float:
    return metrics.score(["answer_f1"], [gold], [pred])["answer_f1"]


@given(golds=st.lists(TEXT, min_size=1, max_size=3), pred=TEXT)
@example(golds=["the", "cat"], pred="")
@example(golds=["The"], pred="the")
def test_one_example_agrees_with_precision_and_recall(golds: list[str], pred: str) -> None:
    def score(gold: str) -> float:
        found, left = list(answers.words(pred)), list(answers.words(gold))
        shared = [word for word in found if word in left and not left.remove(word)]
        if not shared:
            return 0.0
        precision, recall = len(shared) / len(found), len(shared) / len(answers.words(gold))
        return 2 * precision * recall / (precision + recall)

    exact, common, total = answers.counts(golds, pred)
    best = max(map(score, golds))
    assert (2 * common / total if total else 1.0) == pytest.approx(best)
    assert exact == any(answers.words(gold) == answers.words(pred) for gold in golds)
    assert f1(golds, pred) == pytest.approx(100 * best)


@given(st.lists(st.tuples(st.lists(TEXT, min_size=1, max_size=3), TEXT), max_size=6))
def test_a_corpus_is_the_mean_of_its_examples(pairs: list[tuple[list[str], str]]) -> None:
    golds, preds = [gold for gold, _ in pairs], [pred for _, pred in pairs]
    scores = metrics.score(["answer_f1", "exact_match"], golds, preds)
    table = [metrics.counts(gold, pred) for gold, pred in pairs]
    each = [f1(gold, pred) for gold, pred in pairs]
    assert scores["answer_f1"] == pytest.approx(sum(each) / len(each) if each else 0.0)
    for name, value in scores.items():
        assert metrics.from_counts(name, table) == pytest.approx(value)
    if table:
        totals = np.array(table).sum(0)
        assert metrics.from_totals("exact_match", totals, len(table)) == pytest.approx(scores["exact_match"])


def test_f1_is_no_ratio_of_sums() -> None:
    golds, preds = [["one two three four"], ["five"]], ["one two three four", "six"]
    table = [metrics.counts(gold, pred) for gold, pred in zip(golds, preds, strict=True)]
    assert table == [[1, 4, 8], [0, 0, 2]]
    assert metrics.from_counts("answer_f1", table) == 50.0
    with pytest.raises(InputError, match="'answer_f1' cannot be computed from stored counts; use score"):
        metrics.from_totals("answer_f1", np.array(table).sum(0), 2)


def test_the_best_reference_counts() -> None:
    assert answers.counts(["in the year 1920", "1920", "York"], "1920") == [1, 1, 2]
    assert answers.counts(["York", "in 1920", "the year 1920"], "year 1920") == [1, 2, 4]
    assert answers.counts(["the", "York"], "York, the") == [1, 1, 2]


@given(TEXT)
def test_the_squad_rule_step_by_step(text: str) -> None:
    """Lower case, then no ASCII punctuation, then no articles, then words between blanks."""
    text = text.lower()
    for mark in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~":
        text = text.replace(mark, "")
    pieces = re.split(r"(\w+)", text)
    kept = [" " if piece in ("a", "an", "the") else piece for piece in pieces]
    assert answers.words("".join(pieces)) == tuple("".join(kept).split())


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        (None, "The cat—a «Cat»!", ("cat—", "«cat»")),  # only ASCII punctuation; an article is one at any edge
        ("en", "The cat—a «Cat»!", ("cata", "cat")),  # punctuation goes before articles
        ("de", "Die Katze, eine der Frauen", ("katze", "frauen")),
        ("es", "Los años, unas casas", ("años", "casas")),
        ("vi", "Những con mèo của tôi", ("con", "mèo", "tôi")),
        ("hi", "बिल्ली। a the", ("बिल्ली", "a", "the")),
        ("ar", "القط، والكلب", ("قط", "و", "كلب")),
        ("zh", "1946年的，“柏林 Wall”", ("1946", "年", "的", "柏", "林", "wall")),
        ("fi", "Kissa ja a-koira", ("kissa", "ja", "akoira")),
    ],
)
def test_words(language: str | None, text: str, words: tuple[str, ...]) -> None:
    assert answers.words(text, language) == words


def test_mlqa_metrics_go_by_the_language() -> None:
    golds, preds = [["柏林墙"]], ["柏林"]
    names = ["answer_f1_mlqa", "exact_match_mlqa", "answer_f1"]
    assert metrics.score(names, golds, preds, "zh") == {
        "answer_f1_mlqa": pytest.approx(80.0),
        "exact_match_mlqa": 0.0,
        "answer_f1": 0.0,
    }
    assert metrics.score(["exact_match_mlqa"], [["die Mauer"]], ["Mauer"], "de") == {"exact_match_mlqa": 100.0}
    assert metrics.score(["exact_match_mlqa"], [["die Mauer"]], ["Mauer"], "es") == {"exact_match_mlqa": 0.0}
    with pytest.raises(InputError, match="'exact_match_mlqa' needs the language of the answers"):
        metrics.score(["exact_match_mlqa"], golds, preds)


@given(TEXT, st.sampled_from(MLQA))
def test_an_answer_matches_itself_in_every_language(text: str, language: str) -> None:
    exact, common, total = answers.counts([text], text, language)
    assert exact == 1 and (2 * common == total if answers.words(text, language) else common == 0)


def test_metrics_ask_for_examples_of_their_own() -> None:
    for name in ("answer_f1", "exact_match_mlqa"):
        with pytest.raises(InputError, match="scores answers; these examples have none"):
            metrics.score([name], [["O"]], [["O"]], "en")
        with pytest.raises(InputError, match="scores answers; these examples have none"):
            metrics.score([name], ["O"], ["O"], "en")
        assert metrics.score([name], [], [], "en") == {name: 0.0}
    with pytest.raises(InputError, match="scores tags of words; these examples have none"):
        metrics.score(["token_accuracy"], [["York"]], ["York"])
    with pytest.raises(InputError, match="scores labels; these examples have none"):
        metrics.score(["accuracy"], [["York"]], ["York"])
    with pytest.raises(InputError, match=r"unknown metric 'answer_f' \(did you mean 'answer_f1'\?\)"):
        metrics.check("answer_f")
    with pytest.raises(InputError, match="1 predictions for 2 examples"):
        metrics.score(["answer_f1"], [["a"], ["b"]], ["a"])
