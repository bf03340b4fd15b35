"""Checks of an arm: what stands before, beside and after its task, and what it changes of the target's training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError

from waystation import languages, study_checks
from waystation.errors import InputError, suggest
from waystation.steps.translation import ORACLE
from waystation.study_checks import Problem
from waystation.tasks.task import Task
from waystation.uses import Text, Use

if TYPE_CHECKING:
    from waystation.study import Study

OWN = ("batch", "max_length", "stride")
"""Recipe fields that a task may have of its own where several are trained at once."""

MAPPED = ("tagging", "span")
"""Formats whose predictions stand in the text, so that those of a translation are of another text."""

SAME = ("max_length", "stride")
"""Recipe fields that no arm may change of a target: all arms read the same test windows."""


def problems(study: Study, arm: Use) -> list[Problem]:
    """(place below the arm, one line) for all that is wrong beside its own task."""
    found: list[Problem] = []
    if not arm.label:
        found.append((("name",), "this arm has no task to be called after: give it a `name:`"))
    labels = [target.label for target in study.target]
    for at, name in enumerate(arm.targets or ()):
        if name not in labels:
            text = f"the study has no target '{name}'{suggest(name, labels)}; it has: {', '.join(labels)}"
            found.append((("targets", at), text))
    for at, before in enumerate(arm.after):
        place: tuple[str | int, ...] = ("after", at)
        found += [((*place, *inner), text) for inner, text in study.use_problems(before, "intermediate")]
        if before.after or before.target is not None:
            found.append((place, "`after` and `target` belong to the arm, not to a stop before it"))
        if before.from_ is not None and at:
            found.append(((*place, "from"), "a checkpoint from elsewhere knows nothing of what comes before it"))
        found += [((*place, *inner), text) for inner, text in _beside(study, before)]
    if arm.from_ is not None and (arm.after or arm.with_ or arm.mlm):
        found.append((("from",), "a checkpoint from elsewhere is trained already: leave out after, with and mlm"))
    return [*found, *_beside(study, arm), *_changes(study, arm)]


def _beside(study: Study, use: Use) -> Iterator[Problem]:
    """What is trained at once with a task."""
    if use.with_ and not use.task:
        yield ("with",), "`with` needs a `task` that it stands beside"
    if study.match is not None and (use.with_ or use.mlm):
        yield ("with",) if use.with_ else ("mlm",), "match makes arms equal in one task; several at once have no equal"
    for at, other in enumerate(use.with_):
        for inner, text in study.use_problems(other, "intermediate"):
            yield ("with", at, *inner), text
        wrong = [name for name in other.recipe if name not in OWN]
        if wrong:
            text = f"'{wrong[0]}' is of the whole phase; a task beside another has only {', '.join(OWN)} of its own"
            yield ("with", at, "recipe", wrong[0]), text
        if other.after or other.with_ or other.mlm or other.target or other.from_:
            yield ("with", at), "a task beside another has only task, name, labels and recipe"
    if use.mlm is not None:
        yield from _text(study, use.mlm)


def _text(study: Study, asked: Text) -> Iterator[Problem]:
    for at, name in enumerate(asked.text):
        try:
            task = study.find(name)
        except InputError as error:
            yield ("mlm", "text", at), str(error)
            continue
        have = task.languages(asked.split)
        if not have:
            yield ("mlm", "text", at), f"task '{name}' has no {asked.split} split to read text from"
        elif asked.languages is not None:
            for place, text in study_checks.training_problems(asked.languages, task, asked.split):
                yield ("mlm", "languages", place), text


def translation_problems(study: Study, use: Use, task: Task, phase: str) -> Iterator[Problem]:
    """Translations that a use asks for and cannot have."""
    if use.translate_test is not None:
        place, fused = ("translate_test",), use.recipe.get("fusion") is not None
        if phase != "target":
            yield place, "`translate_test` belongs to a target: an intermediate task is not tested"
        elif task.format in MAPPED and not fused:
            text = f"answers and tags of a translated {task.format} test are not those of the test itself"
            yield place, f"{text}; use it with classification, multilabel or choice, or with fusion"
        elif task.format == "retrieval":
            yield place, "sentences that are translated are no test of finding translations"
        for at, text in study_checks.training_problems(use.translate_test.languages or (), task, "test"):
            yield (*place, "languages", at), text
    for name, asked in (("translate", use.translate), ("translate_test", use.translate_test)):
        if asked is None:
            continue
        if asked.by.by == ORACLE and name == "translate":
            yield (name, "by"), f"'{ORACLE}' is the English side of a test set; training data needs a translator"
        if asked.by.task is not None:
            try:
                study.find(asked.by.task)
            except InputError as error:
                yield (name, "by", "task"), str(error)
    for at, code in enumerate(use.translate.languages if use.translate else ()):
        try:
            canonical = languages.resolve(code).code
        except InputError as error:
            yield ("translate", "languages", at), str(error)
            continue
        if canonical == study.source:
            yield ("translate", "languages", at), f"'{code}' is the source language: its examples are the originals"


def _changes(study: Study, arm: Use) -> Iterator[Problem]:
    """What an arm changes of the targets must make sense for each of them that is trained."""
    if arm.target is None:
        return
    for name in SAME:
        if name in arm.target.recipe:
            yield ("target", "recipe", name), f"{name} is the same for all arms: change it in the target's own recipe"
    for target in study.target:
        if arm.targets is not None and target.label not in arm.targets:
            continue
        try:
            if study.find(target.task).format == "retrieval":
                continue
            changed = study.under(target, arm)
            told = study.use_problems(changed, "target")
        except (InputError, ValidationError):
            continue  # the target's own problem, told there
        already = study.use_problems(target, "target")
        for place, text in told:
            if (place, text) not in already:
                here = place[1:] if place[:1] == ("train",) else place
                yield ("target", *here), f"for target '{target.label}': {text}"
