"""What is wrong with a study that its types alone cannot say: names, labels, languages, groups, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from waystation import backbones, languages
from waystation.errors import InputError, suggest
from waystation.scoring import metrics
from waystation.steps.records import Recipe
from waystation.study import BASELINE, Problem, Study, TrainOn, Use, among
from waystation.study_file import Place, sentence
from waystation.tasks.task import Task


def problems(study: Study) -> list[Problem]:
    """Everything that types alone cannot say: (place in the file, one line)."""
    found: list[Problem] = []
    wrong = backbones.problem(study.backbone)
    if wrong:
        found.append((("backbone", "layers" if wrong.startswith("layers") else "id"), wrong))
    if not study.uses():
        found.append(
            (("intermediate",), "no intermediate task is named; a study compares at least one with the baseline")
        )
    names: set[str] = {BASELINE}
    if BASELINE in study.intermediate:
        found.append((("intermediate", BASELINE), f"the group '{BASELINE}' is the baseline's; give it another name"))
    for group, members in study.intermediate.items():
        for at, use in enumerate(members):
            place = ("intermediate", group, at)
            found += [((*place, *inner), text) for inner, text in _use_problems(study, use, "intermediate")]
            if use.label in names:
                found.append((place, f"the name '{use.label}' is taken; give this use another `name:`"))
            names.add(use.label)
    targets: set[str] = set()
    for at, use in enumerate(study.target):
        found += [(("target", at, *inner), text) for inner, text in _use_problems(study, use, "target")]
        if use.label in targets:
            found.append((("target", at), f"the name '{use.label}' is taken; give this use another `name:`"))
        targets.add(use.label)
    found += [(("languages", at), text) for at, text in _language_problems(study.languages)]
    for name, task in study.tasks.items():
        found += [(("tasks", name, split), text) for split, text in _code_problems(task)]
    if study.primary is not None:
        found += [(("primary",), text) for text in _primary_problems(study, study.primary)]
    return found


def _use_problems(study: Study, use: Use, phase: str) -> list[Problem]:
    try:
        task = study.find(use.task)
    except InputError as error:
        return [(("task",), str(error))]
    found = _label_problems(use.labels, task, ("labels",))
    if not found and not study.labels_of(use):
        found.append((("labels",), f"every label of '{task.id}' is left out; keep at least one"))
    found += _metric_problems(use.metrics or task.metrics, study.labels_of(use))
    try:
        study.recipe_of(use, phase)
    except ValidationError as error:
        found += [
            (("recipe", *item["loc"]), sentence(item, Recipe, ("recipe", *item["loc"]))) for item in error.errors()
        ]
    if phase == "intermediate" and (use.train or use.languages or use.metrics):
        found.append(((), "`train`, `languages` and `metrics` belong to a target, not to an intermediate task"))
    trained = task
    if use.train is not None:
        try:
            trained = study.find(use.train.task)
        except InputError as error:
            return [*found, (("train", "task"), str(error))]
        found += _train_on_problems(study, use, use.train, trained)
    if study.source not in trained.languages("train"):
        has = ", ".join(trained.languages("train")) or "no training data declared"
        text = f"task '{trained.id}' has no training data in '{study.source}' (it has: {has})"
        found.append(((), text + ("; name a task to train on with `train:`" if phase == "target" else "")))
    if phase == "target":
        own = [(("languages", at), text) for at, text in _language_problems(use.languages or ())]
        found += own
        asked = use.languages or study.languages
        have = task.languages("test")
        if not _language_problems(asked) and not (have if "all" in asked else among(asked, have)):
            text = f"target '{task.id}' has none of the languages asked for; it has: {', '.join(have) or 'none'}"
            found.append((("languages",) if use.languages else (), text))
    return found


def _train_on_problems(study: Study, use: Use, train: TrainOn, trained: Task) -> list[Problem]:
    labels = study.labels_of(use)
    found = _label_problems(train.labels, trained, ("train", "labels"))
    for label in trained.labels:
        new = train.labels.get(label, label)
        if new is not None and new not in labels:
            text = f"label '{label}' of '{trained.id}' has no counterpart among {', '.join(labels)}"
            found.append((("train", "labels", label), f"{text}; map it under `train: labels:`"))
    if trained.format != study.find(use.task).format:
        text = f"task '{trained.id}' is {trained.format}, the target is {study.find(use.task).format}"
        found.append((("train", "task"), f"{text}; train on a task of the target's format"))
    return found


def _primary_problems(study: Study, primary: str) -> list[str]:
    sides = [side.strip() for side in primary.split(" - ")]
    if len(sides) != 2 or not all(sides) or sides[0] == sides[1]:
        return [f"primary '{primary}' must be two different groups joined by ' - ', for example 'medical - general'"]
    groups = [*(group for group, members in study.intermediate.items() if members), BASELINE]
    return [
        f"primary names the group '{side}'{suggest(side, groups)}; groups are: {', '.join(groups)}"
        for side in sides
        if side not in groups
    ]


def _metric_problems(names: Sequence[str], labels: Sequence[str]) -> list[Problem]:
    found: list[Problem] = []
    for name in names:
        try:
            metrics.check(name, labels)
        except InputError as error:
            found.append((("metrics",), str(error)))
    return found


def _code_problems(task: Task) -> list[tuple[str, str]]:
    """Languages of own tasks must be written by their canonical code: that is how they are looked up."""
    found: list[tuple[str, str]] = []
    for split in task.splits:
        for code in task.languages(split):
            try:
                canonical = languages.resolve(code).code
            except InputError as error:
                found.append((split, str(error)))
                continue
            if canonical != code:
                found.append((split, f"language '{code}' is written '{canonical}' here"))
    return found


def _label_problems(labels: Mapping[str, Any], task: Task, place: Place) -> list[Problem]:
    return [
        (
            (*place, old),
            f"task '{task.id}' has no label '{old}'{suggest(old, task.labels)}; it has: {', '.join(task.labels)}",
        )
        for old in labels
        if old not in task.labels
    ]


def _language_problems(names: Sequence[str]) -> list[tuple[int, str]]:
    found = []
    for at, name in enumerate(names):
        if name == "all":
            continue
        try:
            languages.expand([name])
        except InputError as error:
            found.append((at, str(error)))
    return found
