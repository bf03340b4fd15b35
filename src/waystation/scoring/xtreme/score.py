"""The scores of an XTREME submission, as the official ``evaluate.py`` prints them, and what it does not say.

A task's figure is the mean over its languages, English included; of the QA tasks the mean of exact match and F1. The
overall score is the mean over the nine tasks, not over their groups.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from waystation.errors import InputError, ManyProblems, suggest
from waystation.scoring import answers, metrics, parts
from waystation.scoring.floors import floor
from waystation.scoring.placeholders import placeholder
from waystation.scoring.xtreme import files, golds, published
from waystation.scoring.xtreme.layout import CHOICE, GROUPS, TASKS, Task

SOURCE = "rules of google-research/xtreme's evaluate.py (xtreme_version=xtreme), tags as seqeval 1.2.2 reads them"

Scores = dict[str, Any]
"""Metric → language → points, and ``avg_`` of each metric and ``avg_metric`` once all languages are there."""


@dataclass
class _One:
    """Scores of one task in one language: the official ones, others beside them, floors of either."""

    scores: dict[str, float]
    beside: dict[str, float] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    unanswered: int = 0


class _Hidden(Exception):
    """The references are placeholders; the message is the reason."""


def score(predictions: Path, labels: Path, backbone: str | None = None) -> dict[str, Any]:
    """Score a folder of predictions against a folder of references, both laid out as ``layout`` says.

    - ``overall``: ``all_task`` if all tasks are complete, and the groups that are; ``tasks``: ``Scores`` of each task.
      These are the official figures, by their official names.
    - ``without_english``: the same means without English; ``beside``: scores that the official script does not give
      (token accuracy, POS F1 as of seqeval 0.0.12, strict entities); ``partial``: means of incomplete tasks over the
      ``languages`` that are there.
    - ``missing``: files that are not there; ``refused``: references that are placeholders, with the reason;
      ``ignored``: folders and files of no known name; ``unanswered``: questions without an answer, which score 0.
    - ``flags``: scores at or below the floor, and, with a ``backbone`` of which figures are published, far from them.

    Raises InputError where a folder is not there, nothing in it can be scored, or files are malformed: all of them.
    """
    for folder in (predictions, labels):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give one that holds TASK/test-LANG.tsv or .json")
    found: dict[str, dict[str, _One]] = defaultdict(dict)
    missing, refused, problems = [], [], []
    for task in TASKS.values():
        for language in task.languages:
            pred, gold = task.file(predictions, language), task.file(labels, language)
            absent = [what for what, path in (("predictions", pred), ("labels", gold)) if not path.exists()]
            if absent:
                missing.append({"task": task.name, "language": language, "what": " and ".join(absent)})
                continue
            try:
                found[task.name][language] = _KINDS[task.kind](task, language, pred, gold)
            except _Hidden as reason:
                refused.append({"task": task.name, "language": language, "reason": f"{gold}: {reason}"})
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise ManyProblems(problems)
    if not found and not refused:
        raise InputError(
            f"{predictions}: nothing to score; it needs files like {TASKS['xnli'].file(predictions, 'sw')}"
        )
    tasks = {name: _scores(by_language) for name, by_language in found.items()}
    whole = {name: _means(name, scores, TASKS[name].languages) for name, scores in tasks.items()}
    beside = {name: _scores(by_language, "beside") for name, by_language in found.items()}
    tasks = {name: scores | whole[name] for name, scores in tasks.items()}
    foreign = {
        name: _means(name, scores, [code for code in TASKS[name].languages if code != "en"])
        for name, scores in tasks.items()
    }
    return {
        "overall": _overall(tasks),
        "tasks": tasks,
        "source": SOURCE,
        "without_english": {
            "overall": _overall(foreign),
            "tasks": {name: each for name, each in foreign.items() if each},
        },
        "beside": {
            name: scores | _means(name, scores, TASKS[name].languages, of_all=False)
            for name, scores in beside.items()
            if scores
        },
        "partial": {
            name: {"languages": list(found[name]), **_means(name, tasks[name], list(found[name]))}
            for name, means in whole.items()
            if not means
        },
        "missing": missing,
        "refused": refused,
        "ignored": ignored(predictions),
        "unanswered": {
            name: some
            for name, by_language in found.items()
            if (some := {code: one.unanswered for code, one in by_language.items() if one.unanswered})
        },
        "flags": _flags(found)
        + (published.far(known, tasks) if backbone and (known := published.known(backbone)) else []),
    }


def ignored(folder: Path) -> list[str]:
    """What lies in a submission and belongs to no task, with the nearest name that would."""
    expected = {str(task.file(Path(), code)) for task in TASKS.values() for code in task.languages}
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name in TASKS:
            names = (f"{entry.name}/{path.name}" for path in sorted(entry.iterdir()))
            found += [f"{name}{suggest(name, expected)}" for name in names if name not in expected]
        elif not entry.name.startswith(".") and entry.name != CHOICE:
            found.append(f"{entry.name}{suggest(entry.name, TASKS)}")
    return found


def _scores(by_language: Mapping[str, _One], which: str = "scores") -> Scores:
    table: Scores = defaultdict(dict)
    for language, one in by_language.items():
        for metric, points in getattr(one, which).items():
            table[metric][language] = points
    return dict(table)


def _means(name: str, scores: Scores, languages: Any, of_all: bool = True) -> dict[str, float]:
    """Means over exactly these languages, empty where one is missing."""
    each = {metric: points for metric, points in scores.items() if isinstance(points, dict)}
    if not languages or any(code not in points for points in each.values() for code in languages):
        return {}
    means = {f"avg_{metric}": fmean(points[code] for code in languages) for metric, points in each.items()}
    if of_all:
        kind = TASKS[name].kind
        main = ("exact_match", "f1") if kind == "answers" else ("f1",) if kind in ("tags", "pairs") else ("accuracy",)
        means["avg_metric"] = fmean(means[f"avg_{metric}"] for metric in main)
    return means


def _overall(tasks: Mapping[str, Scores]) -> dict[str, float]:
    main = {name: scores["avg_metric"] for name, scores in tasks.items() if "avg_metric" in scores}
    members = {"all_task": tuple(TASKS), **GROUPS}
    return {
        group: fmean(main[name] for name in names)
        for group, names in members.items()
        if all(name in main for name in names)
    }


def _flags(found: Mapping[str, Mapping[str, _One]]) -> list[dict[str, Any]]:
    return [
        {
            "task": name,
            "language": language,
            "metric": metric,
            "score": points,
            "floor": lowest,
            "why": f"no better than answering without looking ({lowest:.1f})",
        }
        for name, by_language in found.items()
        for language, one in by_language.items()
        for metric, lowest in one.floors.items()
        if (points := (one.scores | one.beside)[metric]) <= lowest + 1e-9
    ]


# One task in one language


def _one_each(task: Task, language: str, pred: Path, gold: Path) -> _One:
    right, preds = golds.labels(task, gold), _alone(pred)
    _refuse(right)
    _same(right, preds, pred, gold, "lines")
    name = "retrieval_accuracy" if task.kind == "numbers" else "accuracy"
    return _One({"accuracy": metrics.accuracy(right, preds)}, floors={"accuracy": floor(name, right)})


def _tags(task: Task, language: str, pred: Path, gold: Path) -> _One:
    right, lines = golds.tags(task, gold), _alone(pred)
    _refuse([tag for tags in right for tag in tags])
    for at, tag in enumerate(lines, 1):
        if task.name == "panx" and tag and not re.fullmatch("O|[BI]-.+", tag):
            raise InputError(f"{pred}:{at}: tag '{tag[:40]}' is not O, B-... or I-...; correct it")
    preds = files.sentences(lines)
    _same(right, preds, pred, gold, "sentences")
    for number, (one, other) in enumerate(zip(right, preds, strict=True), 1):
        if len(one) != len(other):
            raise InputError(f"{pred}: {len(other)} tags in sentence {number}, which has {len(one)} words")
    main = "pos_f1_xtreme" if task.name == "udpos" else "entity_f1"
    second = "pos_f1_xtreme_0.0.12" if task.name == "udpos" else "entity_f1_strict"
    beside = metrics.score([second, "token_accuracy"], right, preds)
    floors = {"f1": floor(main, right), "token_accuracy": floor("token_accuracy", right)}
    return _One(_of_totals(*parts.tally(main, right, preds).totals().tolist()), beside, floors)


def _pairs(task: Task, language: str, pred: Path, gold: Path) -> _One:
    right, preds = golds.pairs(gold, language), {line for line in files.lines(pred) if line}
    _refuse([pair.rpartition("\t")[2] for pair in right])
    return _One(_of_totals(len(right & preds), len(preds), len(right)), floors={"f1": 0.0})


def _answers(task: Task, language: str, pred: Path, gold: Path) -> _One:
    questions, given = files.references(gold), files.answers(pred)
    _refuse([text for _, texts in questions for text in texts or [""]])
    rule = language if task.name == "mlqa" else None
    # A question without an answer scores 0, also where nothing is left of the reference once it is normalised.
    counted = [answers.counts(texts, given[name], rule) if name in given else [0, 0, 1] for name, texts in questions]
    scores = {"exact_match": metrics.from_counts("exact_match", counted), "f1": answers.mean_f1(counted)}
    return _One(scores, floors=dict.fromkeys(scores, 0.0), unanswered=sum(name not in given for name, _ in questions))


_KINDS = {"labels": _one_each, "numbers": _one_each, "tags": _tags, "pairs": _pairs, "answers": _answers}


def _refuse(labels: list[str]) -> None:
    """Refuse references that are none."""
    if not labels:
        raise _Hidden("it is empty: the references of this test set are not public, or have been cut off")
    if (reason := placeholder(labels)) is not None:
        raise _Hidden(reason)


def _alone(pred: Path) -> list[str]:
    """The lines of predictions, each a label or a tag and nothing else."""
    found = files.lines(pred)
    for at, line in enumerate(found, 1):
        if "\t" in line:
            raise InputError(f"{pred}:{at}: several columns; write the label or the tag alone")
    return found


def _same(right: list[Any], preds: list[Any], pred: Path, gold: Path, what: str) -> None:
    if len(right) != len(preds):
        raise InputError(f"{pred}: {len(preds)} {what}, but {gold} has {len(right)}; give one for each")


def _of_totals(right: int, predicted: int, wanted: int) -> dict[str, float]:
    return {
        "f1": 200 * right / (predicted + wanted) if predicted + wanted else 0.0,
        "precision": 100 * right / predicted if predicted else 0.0,
        "recall": 100 * right / wanted if wanted else 0.0,
    }
