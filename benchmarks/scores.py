"""Tagging scores of a corpus against seqeval: entities of three types in ten thousand sentences made by chance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from seqeval.metrics.v1 import precision_recall_fscore_support as strict
from seqeval.scheme import IOB2

from benchmarks.harness import Case, Result, Settings, measure
from waystation.scoring import metrics

SENTENCES = 10_000
TYPES = ("LOC", "ORG", "PER")
OUTPUTS = ["O", *(f"{mark}-{kind}" for kind in TYPES for mark in "BI")]

Corpus = list[list[str]]
Points = npt.NDArray[np.float64]


def corpora(sentences: int, seed: int = 0) -> tuple[Corpus, Corpus]:
    """References, and predictions as of a tagger in a language that it was not trained on.

    A word in seven begins an entity. Of these one in six is found with other ends, one in ten with another type, one
    in ten not at all, and one in twelve without its ``B``; one in fifty other words is taken for an entity.
    """
    rng = np.random.default_rng(seed)
    golds, preds = [], []
    for size in np.clip(rng.lognormal(2.6, 0.6, sentences), 1, 128).astype(int).tolist():
        gold, pred, at = np.zeros(size, int), np.zeros(size, int), 0
        while at < size:
            kind, end, error = rng.integers(len(TYPES)), min(size, at + rng.geometric(0.55)), rng.random()
            if error < 1 / 7:
                _mark(gold, at, end, kind)
                wrong = rng.choice(5, p=[1 / 6, 1 / 10, 1 / 10, 1 / 12, 0.55])
                if wrong != 2:
                    _mark(pred, at, min(size, end + (wrong == 0)), (kind + (wrong == 1)) % len(TYPES))
                if wrong == 3:
                    pred[at] += 1
                at = end
            else:
                if error > 1 - 6 / 7 / 50:
                    _mark(pred, at, at + 1, kind)
                at += 1
        golds.append([OUTPUTS[tag] for tag in gold])
        preds.append([OUTPUTS[tag] for tag in pred])
    return json.loads(json.dumps(golds)), preds  # each tag of a reference that was read is a text of its own


def _mark(tags: npt.NDArray[np.int64], first: int, end: int, kind: int) -> None:
    tags[first:end] = 2 * kind + 2
    tags[first] = 2 * kind + 1


def by_type(golds: Corpus, preds: Corpus) -> Points:
    """Precision, recall and F1 of each type, and of all: [types + 1, 3], 0 to 1."""
    totals = list(metrics.entity_totals(golds, preds).values())
    return np.array([_shares(row) for row in [*totals, np.sum(totals, axis=0).tolist()]])


def as_stored(golds: Corpus, preds: Corpus) -> float:
    """F1 of all entities by way of the counts of each sentence, as an evaluation stores them: 0 to 1."""
    return metrics.from_counts("entity_f1", metrics.counts_of(golds, preds)) / 100


def _shares(counts: Sequence[int]) -> tuple[float, float, float]:
    right, predicted, wanted = counts
    return right / predicted, right / wanted, 2 * right / (predicted + wanted)


def scores(settings: Settings) -> Result:
    """Types told apart. Strict IOB2 is another reading of broken tags, shown for its cost."""
    golds, preds = corpora(SENTENCES)
    theirs = {
        "seqeval, by type": lambda: np.array(precision_recall_fscore_support(golds, preds, average=None)[:3]).T,
        "seqeval, all types": lambda: np.array(precision_recall_fscore_support(golds, preds, average="micro")[:3]),
        "seqeval, strict IOB2": lambda: strict(golds, preds, average=None, scheme=IOB2),
    }

    def check(found: Mapping[str, Any]) -> None:
        *types, all_types = found["ours"]
        np.testing.assert_allclose(types, found["seqeval, by type"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(all_types, found["seqeval, all types"], rtol=0, atol=1e-12)

    case = Case("scores", 20.0, lambda: by_type(golds, preds), theirs, check, _note(golds, preds))
    return measure(case, settings)


def stored(settings: Settings) -> Result:
    """The counts that an evaluation stores, and a score from them."""
    golds, preds = corpora(SENTENCES)

    def check(found: Mapping[str, Any]) -> None:
        np.testing.assert_allclose(found["ours"], found["seqeval f1_score"], rtol=0, atol=1e-12)

    theirs = {"seqeval f1_score": lambda: f1_score(golds, preds)}
    case = Case("scores-stored", 20.0, lambda: as_stored(golds, preds), theirs, check, _note(golds, preds))
    return measure(case, settings)


def _note(golds: Corpus, preds: Corpus) -> str:
    differ = sum(gold != pred for gold, pred in zip(golds, preds, strict=True)) / len(golds)
    return (
        f"{len(golds)} made sentences, mean {np.mean([len(gold) for gold in golds]):.1f} words, {len(TYPES)} types, "
        f"{differ:.0%} with an error, F1 {100 * as_stored(golds, preds):.1f}"
    )


ROWS = {"scores": scores, "scores-stored": stored}
