"""The references of an XTREME submission, as they are released: labels and tags in the last column of their lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from waystation.errors import InputError, suggest
from waystation.scoring.placeholders import placeholder
from waystation.scoring.xtreme import files
from waystation.scoring.xtreme.layout import Task


def labels(task: Task, path: Path) -> list[str]:
    """The label or the number of each line.

    Raises InputError, with the line, where one is neither the task's nor a placeholder: another column was read.
    """
    found = files.last_column(path)
    _refuse(task, path, list(enumerate(found, 1)))
    return found


def tags(task: Task, path: Path) -> list[list[str]]:
    """The tags of each sentence; InputError as ``labels``."""
    found = files.last_column(path)
    _refuse(task, path, [(at, tag) for at, tag in enumerate(found, 1) if tag])
    return files.sentences(found)


def pairs(path: Path, language: str) -> set[str]:
    """The true pairs: the language's id, a tab, the English one. Raises InputError with the line of another thing."""
    found = [line for line in files.lines(path) if line]
    if placeholder([line.rpartition("\t")[2] for line in found]) is None:
        for at, line in enumerate(files.lines(path), 1):
            if line and not re.fullmatch(pair_of(language), line):
                text = f"the reference '{line[:60]}' is no pair of ids, {language}-... and en-... with a tab between"
                raise InputError(f"{path}:{at}: {text}")
    return set(found)


def pair_of(language: str) -> str:
    """The pattern of a pair's line."""
    return rf"{language}-[0-9]+\ten-[0-9]+"


def _refuse(task: Task, path: Path, numbered: Iterable[tuple[int, str]]) -> None:
    wrong = [(at, label) for at, label in numbered if not is_one(task, label)]
    if not wrong or placeholder([label for _, label in numbered]) is not None:
        return
    at, label = wrong[0]
    known = f"none of {' '.join(task.labels)}{suggest(label, task.labels)}" if task.labels else "no number"
    text = f"the reference '{label[:40]}' is {known}; give the references as released, labels in the last column"
    raise InputError(f"{path}:{at}: {text}")


def is_one(task: Task, label: str) -> bool:
    """Whether this is a label, a tag or a number of the task."""
    return label in task.labels if task.labels else re.fullmatch("[0-9]{1,9}", label) is not None
