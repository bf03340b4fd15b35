"""Metrics of tag sequences, labels, sets of labels, pairs and answers: pure functions of references and predictions.

Every float returned here is in points, 0–100, and is 0.0 where nothing can be counted (no example, no word, no entity).
A reference or a prediction is a label (``str``) or the tags of one sentence (``list[str]``). Of a question, the
reference is a list of answers and the prediction one (``str``). Of a text with any number of labels, the reference is a
list of them and the prediction a ``Ranked``. Of a sentence that was mined, the prediction may be a ``Mined``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, starmap
from operator import eq
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError, suggest
from waystation.scoring import answers, pos, retrieval, spans
from waystation.scoring import labels as label_sets
from waystation.scoring.answers import SPAN_COUNTS
from waystation.scoring.labels import RANKED, SET_COUNTS, Ranked
from waystation.scoring.retrieval import Mined
from waystation.scoring.spans import Tags, same_length

Item = TypeVar("Item")

TAG_COUNTS = ("tp", "predicted", "gold", "correct", "tokens")
"""Stored counts of one tagged sentence: entities found rightly, predicted, in the reference; words right, words."""

LABEL_COUNTS = ("correct",)
"""Stored counts of one labelled example, or of one sentence whose translation was looked up."""

PAIR_COUNTS = ("tp", "predicted", "gold")
"""Stored counts of one sentence that was mined: pair found rightly, pair found, pair in the reference."""

_COUNTS = {  # else TAG_COUNTS
    "accuracy": LABEL_COUNTS,
    "retrieval_accuracy": LABEL_COUNTS,
    **dict.fromkeys(("mining_f1", "mining_f1_halves"), PAIR_COUNTS),
    "micro_f1": SET_COUNTS,
    "answer_f1": SPAN_COUNTS,
    "exact_match": SPAN_COUNTS,
}
POS_VERSIONS = {"pos_f1_xtreme": "1.2.2", "pos_f1_xtreme_0.0.12": "0.0.12"}
"""XTREME's F1 of parts of speech → the release of seqeval whose reading of tags it has."""

_OF_TAGS = ("entity_f1", "entity_f1_strict", "token_accuracy", *POS_VERSIONS)
_OF_LABELS = ("accuracy", "macro_f1", "macro_f1_all", "f1")
_OF_SETS = ("micro_f1", "macro_f1", "f1", "micro_f1_none", "macro_f1_none", "r_precision", "ndcg")
_OF_PAIRS = ("retrieval_accuracy", "mining_f1", "mining_f1_halves")
OF_ANSWERS = (
    *("answer_f1", "exact_match", "answer_f1_mlqa", "exact_match_mlqa"),
    *("answer_f1_squad2", "exact_match_squad2", "avna"),
)
"""Metrics of answers: SQuAD 1.1's, MLQA's, SQuAD 2.0's, and whether there is an answer just where there should be."""

_TAKES = {"entity_f1": ":TYPE", "entity_f1_strict": ":TYPE", "f1": ":LABEL", "r_precision": "@K", "ndcg": "@K"}
OF_SETS = tuple(base + _TAKES.get(base, "") for base in _OF_SETS)
"""Metrics of sets of labels, K from 1 to ``RANKED``."""

OF_ENTITIES = ("entity_f1", "entity_f1:TYPE", "entity_f1_strict", "entity_f1_strict:TYPE", "token_accuracy")
"""Metrics of tags that mark entities."""

_KNOWN = (*OF_ENTITIES, *POS_VERSIONS, "accuracy", "macro_f1_all", *OF_SETS, *_OF_PAIRS, *OF_ANSWERS)

_SCORED = {
    "tags of words": _OF_TAGS,
    "answers": OF_ANSWERS,
    "labels": (*_OF_LABELS, "retrieval_accuracy", "mining_f1"),
    "mined pairs with their margins": ("mining_f1", "mining_f1_halves"),
    "sets of labels": _OF_SETS,
}


def split(name: str) -> tuple[str, str, str]:
    """A metric's name in its parts: ``f1:ENTITY`` is f1, ":" and ENTITY, ``ndcg@5`` is ndcg, "@" and 5."""
    base, mark, argument = re.fullmatch("(?s)([^:@]*)([:@]?)(.*)", name).groups()  # type: ignore[union-attr]
    return base, mark, argument


def check(name: str, labels: Iterable[str] | None = None) -> None:
    """Refuse a metric name that ``score`` does not know or, where ``labels`` are given, whose label is none of them."""
    base, mark, label = split(name)
    takes = _TAKES.get(base, "")
    if base not in _OF_TAGS + _OF_LABELS + _OF_SETS + _OF_PAIRS + OF_ANSWERS or (mark and mark != takes[:1]):
        near = suggest(name, _KNOWN) or suggest(base, _KNOWN)
        raise InputError(f"unknown metric '{name}'{near}; known: {', '.join(_KNOWN)}")
    if takes == "@K":
        if label not in map(str, range(1, RANKED + 1)):
            raise InputError(f"metric '{name}' needs how many labels to look at: write {base}@1 to {base}@{RANKED}")
        return
    if (base == "f1" or mark) and not label:
        raise InputError(f"metric '{name}' needs a label: write {base}{takes}")
    known = None if labels is None else list(labels)
    if label and known is not None and label not in known:
        raise InputError(
            f"metric '{name}' names no label of the task{suggest(label, known)}; known: {', '.join(known)}"
        )


def score(
    names: Iterable[str],
    golds: Sequence[Any],
    preds: Sequence[Any],
    language: str | None = None,
    labels: Sequence[str] | None = None,
) -> dict[str, float]:
    """Score a corpus in one language by several metrics: metric name, as in task records, → points.

    MLQA's metrics go by the rules of its language; macro averages over sets of labels, and ``macro_f1_all``, are over
    all ``labels`` of the task. The others ask for neither.
    """
    names = list(names)
    for name in names:
        check(name)
        base = split(name)[0]
        kinds = [kind for kind, bases in _SCORED.items() if base in bases]
        if golds and _kind(golds[0], preds[0]) not in kinds:
            raise InputError(f"metric '{name}' scores {' or '.join(kinds)}; these examples have none")
        if base.endswith("_mlqa") and language is None:
            raise InputError(f"metric '{name}' needs the language of the answers: say which")
        declared = base == "macro_f1_all" or bool(len(preds) and isinstance(preds[0], Ranked))
        if base.startswith("macro_f1") and declared and labels is None and len(golds):
            raise InputError(f"metric '{name}' needs the labels of the task: say which")
    asked = {split(name)[0] for name in names}
    by_type: dict[str, dict[str, tuple[int, int, int]]] = {
        base: entity_totals(golds, preds, strict=base == "entity_f1_strict")
        for base in ("entity_f1", "entity_f1_strict")
        if base in asked
    }
    return {name: _one(name, golds, preds, by_type, language, labels or ()) for name in names}


def _kind(gold: Any, pred: Any) -> str:
    """What an example is scored by."""
    if isinstance(pred, Ranked):
        return "sets of labels"
    if isinstance(pred, Mined):
        return "mined pairs with their margins"
    return "labels" if isinstance(gold, str) else "answers" if isinstance(pred, str) else "tags of words"


def _one(
    name: str,
    golds: Sequence[Any],
    preds: Sequence[Any],
    by_type: dict[str, dict[str, tuple[int, int, int]]],
    language: str | None,
    labels: Sequence[str],
) -> float:
    base, _, label = split(name)
    if preds and isinstance(preds[0], Ranked):
        return _of_sets(base, label, golds, preds, labels)
    match base:
        case "entity_f1" | "entity_f1_strict":
            return _entity_f1(by_type[base], label or None)
        case base if base in POS_VERSIONS:
            return pos_f1(golds, preds, POS_VERSIONS[base])
        case "token_accuracy":
            return token_accuracy(golds, preds)
        case "accuracy" | "retrieval_accuracy":
            return accuracy(golds, preds)
        case "mining_f1":
            return mining_f1(golds, preds)
        case "mining_f1_halves":
            return mining_f1(golds, halves(golds, preds))
        case "macro_f1":
            return macro_f1(golds, preds)
        case "macro_f1_all":
            return macro_f1(golds, preds, labels)
        case "avna":
            return 100.0 * sum(bool(gold) == bool(pred) for gold, pred in _pairs(golds, preds)) / max(1, len(golds))
        case base if base.endswith("_squad2"):
            table = [answers.squad2_counts(gold, pred) for gold, pred in _pairs(golds, preds)]
            return from_counts(base.removesuffix("_squad2"), table)
        case base if base in OF_ANSWERS:
            rule = language if base.endswith("_mlqa") else None
            counted = [answers.counts(gold, pred, rule) for gold, pred in _pairs(golds, preds)]
            return from_counts(base.removesuffix("_mlqa"), counted)
        case _:
            return class_f1(golds, preds, label)


def _of_sets(base: str, argument: str, golds: Sequence[Any], preds: Sequence[Ranked], labels: Sequence[str]) -> float:
    _pairs(golds, preds)
    none = base.endswith("_none")
    match base.removesuffix("_none"):
        case "micro_f1":
            return label_sets.micro_f1(golds, preds, none)
        case "macro_f1":
            return label_sets.macro_f1(golds, preds, labels, none)
        case "f1":
            return label_sets.label_f1(golds, preds, argument)
        case ranked:
            metric = label_sets.ndcg if ranked == "ndcg" else label_sets.r_precision
            return metric(golds, [pred.ranking for pred in preds], int(argument))


# Entities


def entity_counts(gold: Tags, pred: Tags) -> tuple[int, int, int]:
    """(entities of the right type and extent, predicted, in the reference) of one sentence."""
    block = next(spans.compare([gold], [pred]))
    return block.right.shape[1], block.predicted.shape[1], block.gold.shape[1]


def entity_totals(
    golds: Sequence[Tags], preds: Sequence[Tags], *, strict: bool = False
) -> dict[str, tuple[int, int, int]]:
    """``entity_counts`` summed over a corpus, for each type; ``strict`` as in ``spans.compare``."""
    _pairs(golds, preds)
    right, predicted, wanted = totals = Counter[str](), Counter[str](), Counter[str]()
    for block in spans.compare(golds, preds, strict=strict):
        for total, found in zip(totals, (block.right, block.predicted, block.gold), strict=True):
            numbers = np.bincount(found[1], minlength=len(block.types)).tolist()
            total.update(dict(zip(block.types, numbers, strict=True)))
    return {kind: (right[kind], predicted[kind], wanted[kind]) for kind in sorted(wanted)}


def entity_f1(golds: Sequence[Tags], preds: Sequence[Tags], type: str | None = None, *, strict: bool = False) -> float:
    """F1 of entities over a corpus, of one type or of all together (micro average); ``strict``: strict IOB2."""
    return _entity_f1(entity_totals(golds, preds, strict=strict), type)


def _entity_f1(totals: dict[str, tuple[int, int, int]], type: str | None) -> float:
    chosen = list(totals.values()) if type is None else [totals.get(type, (0, 0, 0))]
    return _f1(*(sum(column) for column in zip(*chosen, strict=True))) if chosen else 0.0


def pos_f1(golds: Sequence[Tags], preds: Sequence[Tags], version: str = "1.2.2") -> float:
    """XTREME's F1 of parts of speech, as a ``version`` of seqeval counts them; see ``pos``."""
    runs = pos.compare(golds, preds, version)
    return _f1(runs.right.shape[1], runs.predicted.shape[1], runs.gold.shape[1])


def token_accuracy(golds: Sequence[Tags], preds: Sequence[Tags]) -> float:
    """Share of words with the right tag, over all words of the corpus."""
    for gold, pred in _pairs(golds, preds):
        same_length(gold, pred)
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


def macro_f1(golds: Sequence[str], preds: Sequence[str], labels: Sequence[str] | None = None) -> float:
    """Mean F1 over the labels that occur in references or predictions (scikit-learn's macro, ``zero_division=0``).

    With ``labels`` over these, and one that occurs nowhere has 0 (scikit-learn's with ``labels``).
    """
    by_label = _label_f1(golds, preds)
    each = [by_label.get(label, 0.0) for label in (by_label if labels is None else labels)]
    return sum(each) / len(each) if each else 0.0


def class_f1(golds: Sequence[str], preds: Sequence[str], label: str) -> float:
    """F1 of one label against the rest."""
    return _label_f1(golds, preds).get(label, 0.0)


# Pairs


def mining_f1(golds: Sequence[str], preds: Sequence[str]) -> float:
    """F1 of pairs: for each sentence the id of its translation and of the one found, "" where there is none."""
    counted = [pair_counts(gold, pred) for gold, pred in _pairs(golds, preds)]
    return _f1(*(sum(column) for column in zip(*counted, strict=True))) if counted else 0.0


def halves(golds: Sequence[str], preds: Sequence[Mined]) -> list[str]:
    """The pairs that ``retrieval.keep_by_halves`` keeps."""
    return retrieval.keep_by_halves(golds, preds, [pred.margin for pred in preds])


def pair_counts(gold: str, pred: str) -> list[int]:
    """``PAIR_COUNTS`` of one sentence."""
    return [int(gold == pred != ""), int(pred != ""), int(gold != "")]


# Stored counts


def counts(gold: Tags | str, pred: Tags | str) -> list[int]:
    """Counts of one example as stored beside its prediction: ``TAG_``, ``LABEL_``, ``SET_`` or ``SPAN_COUNTS``.

    Plain reference tags (parts of speech) mark no entities: the three counts of entities are 0.
    """
    if isinstance(gold, str):
        return [int(gold == pred)]
    if isinstance(pred, Ranked):
        return label_sets.counts(gold, pred)
    if isinstance(pred, str):
        return answers.counts(gold, pred)
    found: list[int] = counts_of([gold], [pred])[0].tolist()
    return found


def counts_of(golds: Sequence[Any], preds: Sequence[Any]) -> npt.NDArray[np.int64]:
    """``counts`` of every example of a corpus at once: int64 [N, k]."""
    pairs = _pairs(golds, preds)
    if not len(golds) or _kind(golds[0], preds[0]) != "tags of words":
        return np.array([counts(gold, pred) for gold, pred in pairs], np.int64)
    columns: list[list[npt.NDArray[np.int64]]] = []
    for block in spans.compare(golds, preds, plain=True):
        sentence = np.repeat(np.arange(len(block.sizes)), block.sizes)
        places = (block.right[0], block.predicted[0], block.gold[0], block.wrong)
        *entities, wrong = (np.bincount(sentence[place], minlength=len(block.sizes)) for place in places)
        columns.append([*entities, block.sizes - wrong, block.sizes])
    return np.hstack(columns).T


def from_counts(name: str, counts: npt.ArrayLike) -> float:
    """A corpus metric from the stored counts [N, k] of its N examples; macro averages and single labels need more."""
    table = np.asarray(counts)
    if not len(table):
        table = np.zeros((0, len(_COUNTS.get(name, TAG_COUNTS))))
    if name == "answer_f1":  # a mean over examples, which no sum of their counts gives
        return answers.mean_f1(table)
    return float(from_totals(name, table.sum(0), len(table)))


def from_totals(name: str, totals: npt.NDArray[Any], examples: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Like ``from_counts``, many subsets at once: counts [..., k] already summed over ``examples`` [...] examples."""
    check(name)
    column = dict(zip(_COUNTS.get(name, TAG_COUNTS), np.moveaxis(totals, -1, 0), strict=True))
    match name:
        case "entity_f1" | "mining_f1" | "micro_f1":
            above, below = 2 * column["tp"], column["predicted"] + column["gold"]
        case "token_accuracy":
            above, below = column["correct"], column["tokens"]
        case "exact_match":
            above, below = column["exact"], np.asarray(examples)
        case "accuracy" | "retrieval_accuracy":
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
