"""Whether an XTREME submission is whole and well formed, before anyone scores it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.scoring.xtreme import files, golds
from waystation.scoring.xtreme.layout import TASKS, Task
from waystation.scoring.xtreme.score import ignored


def check(folder: Path, labels: Path | None = None) -> dict[str, Any]:
    """``files`` that are there, ``missing`` ones, ``problems``: one line each with its place, ``unchecked`` sizes.

    Sizes, lengths of sentences and question ids are held against the references in ``labels`` where they are there,
    else the number of lines and questions against the official size. ``unchecked`` names files for which neither is
    known. Raises InputError where a folder is not there.
    """
    for place in (folder, labels):
        if place is not None and not place.is_dir():
            raise InputError(f"{place}: no such folder; give one that holds TASK/test-LANG.tsv or .json")
    present, missing, unchecked = [], [], []
    problems = [f"{folder / name}: belongs to no task; rename or remove it" for name in ignored(folder)]
    for task in TASKS.values():
        for language in task.languages:
            pred = task.file(folder, language)
            name = str(pred.relative_to(folder))
            if not pred.exists():
                missing.append(name)
                continue
            present.append(name)
            gold = task.file(labels, language) if labels is not None else None
            gold = gold if gold is not None and gold.exists() else None
            if gold is None and task.size(language) is None and task.kind != "pairs":
                unchecked.append(name)
            try:
                problems += [f"{pred}{problem}" for problem in _CHECKS[task.kind](task, language, pred, gold)]
            except InputError as error:
                problems.append(str(error))
    return {"files": present, "missing": missing, "problems": problems, "unchecked": unchecked}


def _labels(task: Task, language: str, pred: Path, gold: Path | None) -> Iterable[str]:
    found = files.lines(pred)
    yield from _number(found, None if gold is None else len(golds.labels(task, gold)), task.size(language), "lines")
    yield from _unknown(enumerate(found, 1), task)


def _numbers(task: Task, language: str, pred: Path, gold: Path | None) -> Iterable[str]:
    found = files.lines(pred)
    yield from _number(found, None if gold is None else len(golds.labels(task, gold)), task.size(language), "lines")
    pool = task.size(language) or 0  # references may be a part, in which the numbers are those of the whole
    wrong = [(at, line) for at, line in enumerate(found, 1) if not golds.is_one(task, line) or int(line) >= pool]
    if wrong:
        at, line = wrong[0]
        yield f":{at}: '{line[:40]}' is no number from 0 to {pool - 1}{_more(wrong)}; count sentences from 0"


def _tags(task: Task, language: str, pred: Path, gold: Path | None) -> Iterable[str]:
    lines = files.lines(pred)
    found, right = files.sentences(lines), None if gold is None else golds.tags(task, gold)
    yield from _number(found, None if right is None else len(right), task.size(language), "sentences")
    yield from _unknown(((at, line) for at, line in enumerate(lines, 1) if line), task)
    # The official script takes each of these for an empty sentence, and then sees another number of them.
    empty = [at for at, (above, line) in enumerate(pairwise(["", *lines]), 1) if not above and not line]
    if empty:
        yield f":{empty[0]}: an empty line with no sentence above it{_more(empty)}; leave one after each sentence"
    if right is not None and len(right) == len(found):
        wrong = [at for at, (one, other) in enumerate(zip(right, found, strict=True)) if len(one) != len(other)]
        if wrong:
            at = wrong[0]
            yield (
                f": {len(found[at])} tags in sentence {at + 1}, which has {len(right[at])} words{_more(wrong)}; "
                "a sentence longer than the window keeps every line"
            )


def _pairs(task: Task, language: str, pred: Path, gold: Path | None) -> Iterable[str]:
    found = files.lines(pred)
    wrong = [(at, line) for at, line in enumerate(found, 1) if not re.fullmatch(golds.pair_of(language), line)]
    if wrong:
        at, line = wrong[0]
        yield f":{at}: '{line[:60]}' is no pair{_more(wrong)}; write {language}-000000001, a tab, en-000000001"
    twice = [line for line, times in Counter(found).items() if times > 1]
    if twice:
        yield f": the pair '{twice[0]}' comes twice{_more(twice)}; write it once"
    if not found:
        yield ": no pairs"
    if gold is not None:
        golds.pairs(gold, language)


def _answers(task: Task, language: str, pred: Path, gold: Path | None) -> Iterable[str]:
    found = files.answers(pred)
    if gold is None:
        yield from _number(found, None, task.size(language), "answers")
        return
    asked = dict.fromkeys(name for name, _ in files.references(gold))
    for what, names in (
        ("no answer to question '{}'{}; it scores 0", [name for name in asked if name not in found]),
        ("an answer to '{}'{}, which is no question; remove it", [name for name in found if name not in asked]),
    ):
        if names:
            yield ": " + what.format(names[0], _more(names))


_CHECKS = {"labels": _labels, "numbers": _numbers, "tags": _tags, "pairs": _pairs, "answers": _answers}


def _number(found: Any, expected: int | None, official: int | None, what: str) -> Iterable[str]:
    if expected is not None and len(found) != expected:
        yield f": {len(found)} {what}, the references have {expected}"
    elif expected is None and official is not None and len(found) != official:
        yield f": {len(found)} {what}, the official test set has {official}"


def _unknown(lines: Iterable[tuple[int, str]], task: Task) -> Iterable[str]:
    wrong = [(at, line) for at, line in lines if line not in task.labels]
    if wrong:
        at, line = wrong[0]
        hint = "; write the tag alone" if "\t" in line else suggest(line, task.labels)
        yield f":{at}: '{line[:40]}' is none of {' '.join(task.labels)}{hint}{_more(wrong)}"


def _more(items: list[Any]) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""
