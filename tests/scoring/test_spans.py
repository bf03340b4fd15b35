"""Corpora of tag sequences compared at once, against seqeval and against one sentence at a time."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

from waystation.errors import InputError
from waystation.scoring import metrics, spans

# Types around the eight bytes that are read at a time: of one beginning, of one length, in other scripts.
TYPES = ["A", "", "_", "abcdef", "abcdefg", "abcdefgh", "work-of-art", "work-of-ark", "work-of-art-and-craft", "地名"]
TAGS = ["O", *(f"{mark}-{kind}" for mark, kind in product("BI", TYPES)), "B", "I"]
SENTENCES = st.lists(st.sampled_from(TAGS), max_size=9)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[str]], list[list[str]]]:
    """References, and predictions with a few wrong tags; some sentences are empty or wholly right."""
    golds = draw(st.lists(SENTENCES, min_size=1, max_size=9))
    preds = [list(gold) for gold in golds]
    for _ in range(draw(st.integers(0, 9))):
        row = draw(st.sampled_from(preds))
        if row:
            row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from(TAGS))
    return golds, preds


def one_by_one(gold: list[str], pred: list[str]) -> list[int]:
    """The stored counts of a sentence by way of seqeval's own reading of it."""
    expected, found = set(get_entities(gold)), set(get_entities(pred))
    words = [a == b for a, b in zip(gold, pred, strict=True)]
    return [len(expected & found), len(found), len(expected), sum(words), len(words)]


@settings(deadline=None)
@given(corpora(), st.integers(1, 9))
def test_same_as_seqeval_whatever_the_blocks(pair: tuple[list[list[str]], list[list[str]]], block: int) -> None:
    golds, preds = pair
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(spans, "BLOCK", block)
        totals = metrics.entity_totals(golds, preds)
        counts = metrics.counts_of(golds, preds)
        kinds = sorted({kind for row in golds + preds for kind, _, _ in get_entities(row)})
        _, _, f1, support = precision_recall_fscore_support(golds, preds, average=None)
    assert list(totals) == kinds
    assert [wanted for _, _, wanted in totals.values()] == list(support)
    assert [metrics.entity_f1(golds, preds, kind) for kind in kinds] == pytest.approx([100 * value for value in f1])
    assert counts.tolist() == [one_by_one(gold, pred) for gold, pred in zip(golds, preds, strict=True)]
    assert counts[:, :3].sum(0).tolist() == np.array([(0, 0, 0), *totals.values()]).sum(0).tolist()
    for gold, pred, row in zip(golds, preds, counts.tolist(), strict=True):
        assert metrics.counts(gold, pred) == row and list(metrics.entity_counts(gold, pred)) == row[:3]
        assert spans.entities(gold) == [(kind, first, last + 1) for kind, first, last in get_entities(gold)]


def test_many_sentences() -> None:
    """More than a block, with more types than one byte numbers."""
    draw = np.random.default_rng(0)
    tags = np.array(["O", *(f"{mark}-{number}" for number in range(300) for mark in "BI")], object)
    golds = [tags[draw.integers(0, len(tags), size)].tolist() for size in draw.integers(0, 9, 5 * spans.BLOCK // 2)]
    preds = [[tag if draw.random() < 0.8 else "B-7" for tag in gold] for gold in golds]
    expected = [one_by_one(gold, pred) for gold, pred in zip(golds, preds, strict=True)]
    assert metrics.counts_of(golds, preds).tolist() == expected


def test_sentences_of_plain_tags_hold_no_entities() -> None:
    golds = [["NOUN", "B-A"], ["B-A", "O"], ["O", "ORG"], ["NOUN", "O"], []]
    preds = [["B-A", "B-A"], ["B-A", "B-A"], ["NOUN", "ORG"], ["NOUN", ""], []]
    assert metrics.counts_of(golds, preds).tolist() == [
        [0, 0, 0, 1, 2],
        [1, 2, 1, 1, 2],
        [0, 0, 0, 1, 2],
        [0, 0, 0, 1, 2],
        [0, 0, 0, 0, 0],
    ]


def test_counts_of_other_kinds() -> None:
    assert metrics.counts_of(["a", "b"], ["a", "a"]).tolist() == [[1], [0]]
    assert metrics.counts_of([["an apple"]], ["apple"]).tolist() == [metrics.counts(["an apple"], "apple")]
    assert len(metrics.counts_of([], [])) == 0


@pytest.mark.parametrize("tag", ["NOUN", "O-A", "b-A", "", "E-A", "BA", "OO"])
def test_tags_of_no_entity_are_refused(tag: str) -> None:
    for gold, pred in ([tag], ["O"]), (["O"], [tag]), ([tag], [tag]):
        with pytest.raises(InputError, match=f"^'{tag}' is no entity tag"):
            metrics.entity_totals([["O"], gold], [["O"], pred])
    with pytest.raises(InputError, match=f"^'{tag}' is no entity tag"):
        metrics.counts_of([["O"]], [[tag]])
    with pytest.raises(InputError, match="is no entity tag"):
        spans.entities([tag])


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="1 tags predicted for a sentence of 2 words"):
        metrics.entity_totals([["O"], ["O", "O"]], [["O"], ["O"]])
    with pytest.raises(InputError, match="1 predictions for 2 examples"):
        metrics.entity_totals([["O"], ["O"]], [["O"]])
    with pytest.raises(InputError, match="NUL"):
        metrics.entity_totals([["B-\0"]], [["O"]])
