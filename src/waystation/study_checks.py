"""Single checks of what a study names: labels, metrics, languages. ``Study.problems`` puts them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from waystation import languages
from waystation.errors import InputError, suggest
from waystation.study_file import Place
from waystation.tasks.task import Task

Problem = tuple[Place, str]
"""A place in the study file and one line on what is wrong there."""


def metric_problems(names: Sequence[str], labels: Sequence[str]) -> list[Problem]:
    """Metrics that are unknown, or that ask for a label that the use does not end up with."""
    from waystation.scoring import metrics  # brings numpy: not before a study is really read

    found: list[Problem] = []
    for name in names:
        try:
            metrics.check(name, labels)
        except InputError as error:
            found.append((("metrics",), str(error)))
    return found


def code_problems(task: Task) -> list[tuple[str, str]]:
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


def label_problems(labels: Mapping[str, Any], task: Task, place: Place) -> list[Problem]:
    """Labels of a map that the task does not have."""
    return [
        (
            (*place, old),
            f"task '{task.id}' has no label '{old}'{suggest(old, task.labels)}; it has: {', '.join(task.labels)}",
        )
        for old in labels
        if old not in task.labels
    ]


def language_problems(names: Sequence[str]) -> list[tuple[int, str]]:
    """Names that are neither a language nor a group, with their place in the list."""
    found = []
    for at, name in enumerate(names):
        if name == "all":
            continue
        try:
            languages.expand([name])
        except InputError as error:
            found.append((at, str(error)))
    return found


def among(asked: Sequence[str], have: Sequence[str]) -> list[str]:
    """Languages asked for (codes, names, groups) that are to be had, in the order asked."""
    return [code for code in languages.expand(asked) if code in have]
