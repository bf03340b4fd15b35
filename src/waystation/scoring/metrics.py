"""Metrics of tag sequences and of labels: pure functions of references and predictions.

Every float returned here is in points, 0–100, and is 0.0 where nothing can be counted (no example, no word, no entity).
A reference or a prediction is a label (``str``) or the tags of one sentence (``list[str]``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, starmap
from operator import eq
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError, suggest

Tags = Sequence[str]
Item = TypeVar("Item")

TAG_COUNTS = ("tp", "predicted", "gold", "correct", "tokens")
"""Stored counts of one tagged sentence: entities found rightly, predicted, in the reference; words right, words."""

LABEL_COUNTS = ("correct",)
"""Stored counts of one labelled example."""

_OF_TAGS = ("entity_f1", "token_accuracy")
_OF_LABELS = ("accuracy", "macro_f1", "f1")
_TAKES_LABEL = {"entity_f1": "TYPE", "f1": "LABEL"}
_KNOWN = ("entity_f1", "entity_f1:TYPE", "token_accuracy", "accuracy", "macro_f1", "f1:LABEL")


def check(name: str, labels: Iterable[str] | None = None) -> None:
    """Refuse a metric name that ``score`` does not know or, where ``labels`` are given, whose label is none of them."""
    base, colon, label = name.partition(":")
    if base not in _OF_TAGS + _OF_LABELS or (colon and base not in _TAKES_LABEL):
        near = suggest(name, _KNOWN) or suggest(base, _KNOWN)
        raise InputError(f"unknown metric '{name}'{near}; known: {', '.join(_KNOWN)}")
    if (base == "f1" or colon) and not label:
        raise InputError(f"metric '{name}' needs a label: write {base}:{_TAKES_LABEL[base]}")
    known = None if labels is None else list(labels)
    if label and known is not None and label not in known:
        raise InputError(
            f"metric '{name}' names no label of the task{suggest(label, known)}; known: {', '.join(known)}"
        )


def score(names: Iterable[str], golds: Sequence[Any], preds: Sequence[Any]) -> dict[str, float]:
    """Score a corpus of tag lists or of labels by several metrics: metric name, as in task records, → points."""
    names = list(names)
    for name in names:
        check(name)
        tagged = name.partition(":")[0] in _OF_TAGS
        if golds and tagged == isinstance(golds[0], str):
            raise InputError(
                f"metric '{name}' scores {'tags of words' if tagged else 'labels'}; these examples have none"
            )
    by_type = entity_totals(golds, preds) if any(name.startswith("entity_f1") for name in names) else {}
    return {name: _one(name, golds, preds, by_type) for name in names}


def _one(name: str, golds: Sequence[Any], preds: Sequence[Any], by_type: dict[str, tuple[int, int, int]]) -> float:
    base, _, label = name.partition(":")
    match base:
        case "entity_f1":
            return _entity_f1(by_type, label or None)
        case "token_accuracy":
            return token_accuracy(golds, preds)
        case "accuracy":
            return accuracy(golds, preds)
        case "macro_f1":
            return macro_f1(golds, preds)
        case _:
            return class_f1(golds, preds, label)


# Entities


@lru_cache(maxsize=4096)
def _parts(tag: str) -> tuple[bool, str]:
    """(whether a tag that is not O begins an entity whatever stands before it, the entity's type)."""
    if tag[:2] not in ("B", "I", "B-", "I-"):
        raise InputError(f"'{tag}' is no entity tag: write O, B-TYPE or I-TYPE, or score plain tags by token_accuracy")
    return tag[0] == "B", tag[2:] or "_"


def entities(tags: Tags) -> list[tuple[str, int, int]]:
    """Entities of one sentence as (type, first word, word after the last), in order.

    IOB2 with the repair of the CoNLL-2000 script, as in seqeval's default mode (1.2.2, whose end is inclusive): an
    ``I-X`` that continues no X begins one. ``B`` and ``I`` alone are of type ``_``.
    """
    found: list[tuple[str, int, int]] = []
    kind, first = "", -1  # the open entity; its type is never empty
    for position, tag in enumerate(tags):
        if tag == "O":
            if kind:
                found.append((kind, first, position))
                kind = ""
            continue
        begins, here = _parts(tag)
        if begins or here != kind:
            if kind:
                found.append((kind, first, position))
            kind, first = here, position
    if kind:
        found.append((kind, first, len(tags)))
    return found


def entity_counts(gold: Tags, pred: Tags) -> tuple[int, int, int]:
    """(entities of the right type and extent, predicted, in the reference) of one sentence."""
    _same_length(gold, pred)
    return _overlap(entities(gold), entities(pred))


def _overlap(expected: list[tuple[str, int, int]], found: list[tuple[str, int, int]]) -> tuple[int, int, int]:
    return len(set(expected).intersection(found)) if expected and found else 0, len(found), len(expected)


def entity_totals(golds: Sequence[Tags], preds: Sequence[Tags]) -> dict[str, tuple[int, int, int]]:
    """``entity_counts`` summed over a corpus, for each type."""
    right, predicted, wanted = Counter[str](), Counter[str](), Counter[str]()
    for gold, pred in _pairs(golds, preds):
        _same_length(gold, pred)
        expected, found = entities(gold), entities(pred)
        wanted.update(kind for kind, _, _ in expected)
        predicted.update(kind for kind, _, _ in found)
        if expected and found:
            right.update(kind for kind, _, _ in set(expected).intersection(found))
    return {kind: (right[kind], predicted[kind], wanted[kind]) for kind in sorted(wanted | predicted)}


def entity_f1(golds: Sequence[Tags], preds: Sequence[Tags], type: str | None = None) -> float:
    """F1 of entities over a corpus, of one type or of all together (micro average)."""
    return _entity_f1(entity_totals(golds, preds), type)


def _entity_f1(totals: dict[str, tuple[int, int, int]], type: str | None) -> float:
    chosen = list(totals.values()) if type is None else [totals.get(type, (0, 0, 0))]
    return _f1(*(sum(column) for column in zip(*chosen, strict=True))) if chosen else 0.0


def token_accuracy(golds: Sequence[Tags], preds: Sequence[Tags]) -> float:
    """Share of words with the right tag, over all words of the corpus."""
    for gold, pred in _pairs(golds, preds):
        _same_length(gold, pred)
    return accuracy(list(chain.from_iterable(golds)), list(chain.from_iterable(preds)))


# Labels


def accuracy(golds: Sequence[str], preds: Sequence[str]) -> float:
    """Share of examples with the right label."""
    right = sum(starmap(eq, _pairs(golds, preds)))
    return 100.0 * right / len(golds) if len(golds) else 0.0


def _label_f1(golds: Sequence[str], preds: Sequence[str]) -> dict[str, float]:
    right = Counter(gold for gold, pred in _pairs(golds, preds) if gold == pred)
    predicted, wanted = Counter(preds), Counter(golds)
    return {label: _f1(right[label], predicted[label], wanted[label]) for label in wanted | predicted}


def macro_f1(golds: Sequence[str], preds: Sequence[str]) -> float:
    """Mean F1 over the labels that occur in references or predictions (scikit-learn's macro, ``zero_division=0``)."""
    by_label = _label_f1(golds, preds)
    return sum(by_label.values()) / len(by_label) if by_label else 0.0


def class_f1(golds: Sequence[str], preds: Sequence[str], label: str) -> float:
    """F1 of one label against the rest."""
    return _label_f1(golds, preds).get(label, 0.0)


# Stored counts


def counts(gold: Tags | str, pred: Tags | str) -> list[int]:
    """Counts of one example as stored beside its prediction: ``TAG_COUNTS`` or ``LABEL_COUNTS``.

    Plain reference tags (parts of speech) mark no entities: the three counts of entities are 0.
    """
    if isinstance(gold, str):
        return [int(gold == pred)]
    _same_length(gold, pred)
    correct = [sum(map(eq, gold, pred)), len(gold)]
    try:
        expected = entities(gold)
    except InputError:
        return [0, 0, 0, *correct]
    return [*_overlap(expected, entities(pred)), *correct]


def from_counts(name: str, counts: npt.ArrayLike) -> float:
    """A corpus metric from the stored counts [N, k] of its N examples: entity_f1, token_accuracy or accuracy."""
    table = np.asarray(counts)
    if not len(table):
        table = np.zeros((0, len(LABEL_COUNTS if name == "accuracy" else TAG_COUNTS)))
    return float(from_totals(name, table.sum(0), len(table)))


def from_totals(name: str, totals: npt.NDArray[Any], examples: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Like ``from_counts``, many subsets at once: counts [..., k] already summed over ``examples`` [...] examples."""
    check(name)
    column = dict(zip(LABEL_COUNTS if name == "accuracy" else TAG_COUNTS, np.moveaxis(totals, -1, 0), strict=True))
    match name:
        case "entity_f1":
            above, below = 2 * column["tp"], column["predicted"] + column["gold"]
        case "token_accuracy":
            above, below = column["correct"], column["tokens"]
        case "accuracy":
            above, below = column["correct"], np.asarray(examples)
        case _:
            raise InputError(f"metric '{name}' cannot be computed from stored counts; use score")
    points = np.zeros(np.broadcast_shapes(np.shape(above), np.shape(below)))
    np.divide(100.0 * above, below, out=points, where=below > 0)
    return points


def _f1(right: int, predicted: int, wanted: int) -> float:
    return 200.0 * right / (predicted + wanted) if predicted + wanted else 0.0


def _pairs(golds: Sequence[Item], preds: Sequence[Item]) -> Iterable[tuple[Item, Item]]:
    if len(golds) != len(preds):
        raise InputError(f"{len(preds)} predictions for {len(golds)} examples; there must be one for each")
    return zip(golds, preds, strict=True)


def _same_length(gold: Tags, pred: Tags) -> None:
    if len(gold) != len(pred):
        raise InputError(f"{len(pred)} tags predicted for a sentence of {len(gold)} words; there must be one for each")
