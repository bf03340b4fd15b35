"""XTREME's part-of-speech F1: against the installed seqeval, and by hand where its releases differ."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2

from waystation.errors import InputError
from waystation.scoring import metrics, pos
from waystation.scoring.xtreme.layout import TASKS

UPOS = list(TASKS["udpos"].labels)
STRANGE = ["_", "O", "B-A", "I-A", "E-x-y", "S", ".", "-", "B-", "名詞", "สรรพนาม", "اسم", "क्रिया", "e\u0301"]
Pairs = list[list[tuple[str, str]]]


def corpora(tags: list[str]) -> st.SearchStrategy[Pairs]:
    return st.lists(st.lists(st.tuples(st.sampled_from(tags), st.sampled_from(tags)), max_size=8), max_size=6)


def split(pairs: Pairs) -> tuple[list[list[str]], list[list[str]]]:
    return [[gold for gold, _ in row] for row in pairs], [[pred for _, pred in row] for row in pairs]


def new(golds: list[list[str]], preds: list[list[str]]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 100 * float(seqeval_f1(golds, preds)) if any(golds) else 0.0


@given(corpora(UPOS) | corpora(["NOUN", "X", "CCONJ", "SCONJ"]) | corpora(UPOS + STRANGE))
@example([[("NOUN", "NOUN"), ("X", "X")], [("X", "X"), ("VERB", "VERB")]])
@example([[], [("X", "NOUN"), ("X", "X")]])
def test_it_is_what_seqeval_says(pairs: Pairs) -> None:
    golds, preds = split(pairs)
    found = metrics.score(["pos_f1_xtreme"], golds, preds)["pos_f1_xtreme"]
    assert found == pytest.approx(new(golds, preds), abs=1e-9)


@given(corpora(["NOUN", "VERB", "ADJ", "PROPN", "SYM"]))
def test_the_releases_agree_where_no_types_collide(pairs: Pairs) -> None:
    golds, preds = split(pairs)
    assert metrics.pos_f1(golds, preds, "0.0.12") == pytest.approx(metrics.pos_f1(golds, preds, "1.2.2"))


@pytest.mark.parametrize(
    ("golds", "preds", "f1"),
    [
        # one wrong word in eleven: 9 of 9 runs against 8
        (["DET NOUN VERB DET NOUN ADP DET NOUN PUNCT"], ["DET NOUN VERB DET NOUN ADP PRON NOUN PUNCT"], (800 / 9,) * 2),
        # a word of another kind splits a run of two
        (["NOUN NOUN"], ["NOUN VERB"], (0, 0)),
        # SCONJ begins with S and stands for itself, CCONJ does not
        (["SCONJ SCONJ"], ["SCONJ SCONJ"], (100, 100)),
        (["CCONJ CCONJ NOUN"], ["CCONJ NOUN NOUN"], (0, 0)),
        # 1.2.2: both are CONJ, so a mistake between them is none
        (["NOUN CCONJ VERB"], ["NOUN SCONJ VERB"], (100, 200 / 3)),
        # 1.2.2: X at the end of a sentence is lost
        (["NOUN X"], ["NOUN NOUN"], (0, 0)),
        (["NOUN X"], ["NOUN X"], (100, 100)),
        (["X"], ["X"], (0, 100)),
        (["X NOUN"], ["X NOUN"], (100, 100)),
        # 1.2.2: X at the begin of a sentence belongs to what began before, here to one run or another
        (["NOUN NOUN", "X VERB"], ["NOUN ADJ", "X VERB"], (200 / 7, 400 / 7)),
    ],
)
def test_by_hand(golds: list[str], preds: list[str], f1: tuple[float, float]) -> None:
    one, other = [line.split() for line in golds], [line.split() for line in preds]
    found = metrics.score(["pos_f1_xtreme", "pos_f1_xtreme_0.0.12"], one, other)
    assert tuple(found.values()) == pytest.approx(f1)
    assert found["pos_f1_xtreme"] == pytest.approx(new(one, other))


def test_a_run_counts_in_the_sentence_it_ends_in() -> None:
    runs = pos.compare([["NOUN"], [], ["VERB", "VERB", "ADJ"]], [["NOUN"], [], ["VERB", "VERB", "ADP"]])
    assert runs.gold[0].tolist() == [0, 2, 2] and runs.right[0].tolist() == [0, 2]
    assert [runs.types[kind] for kind in runs.predicted[1]] == ["OUN", "ERB", "DP"]


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="1 tags predicted for a sentence of 2 words"):
        metrics.pos_f1([["NOUN", "X"]], [["X"]])
    with pytest.raises(InputError, match="a tag is empty"):
        metrics.pos_f1([[""]], [["X"]])
    with pytest.raises(InputError, match=r"did you mean 'pos_f1_xtreme'"):
        metrics.check("pos_f1_xtrem")


ENTITIES = ["O", "B-A", "I-A", "B-B", "I-B", "B-x-y", "I-x-y", "B-人", "I-人", "B-ص", "I-ص"]


@given(corpora(ENTITIES))
def test_strict_entities_agree_with_seqeval(pairs: Pairs) -> None:
    golds, preds = split([row for row in pairs if row])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = 100 * float(seqeval_f1(golds, preds, mode="strict", scheme=IOB2)) if golds else 0.0
    assert metrics.score(["entity_f1_strict"], golds, preds)["entity_f1_strict"] == pytest.approx(expected)


def test_strict_entities_are_not_mended() -> None:
    golds, preds = [["B-A", "I-A", "O", "B-B"]], [["I-A", "I-A", "O", "B-B"]]
    names = ["entity_f1", "entity_f1_strict", "entity_f1_strict:A", "entity_f1_strict:B"]
    assert list(metrics.score(names, golds, preds).values()) == pytest.approx([100, 200 / 3, 0, 100])
    with pytest.raises(InputError, match="needs a label: write entity_f1_strict:TYPE"):
        metrics.check("entity_f1_strict:")
