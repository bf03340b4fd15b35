"""The tasks that Waystation knows: every record of ``catalog/*.yaml``, declared, none downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from waystation import yamlfile
from waystation.errors import InputError, suggest
from waystation.tasks.task import Task

CATALOG = Path(__file__).parent / "catalog"


@cache
def catalog() -> dict[str, Task]:
    """Every task of the catalog by id, in the order of declaration; files in alphabetical order."""
    return collect(sorted(CATALOG.glob("*.yaml")))


def collect(paths: list[Path]) -> dict[str, Task]:
    """The tasks declared in YAML files, each a list of records."""
    found: dict[str, Task] = {}
    for path in paths:
        data, lines = yamlfile.load(path)
        if not isinstance(data, list):
            raise InputError(f"{path}:1: a catalog file is a list of tasks: begin each with '- id: ...'")
        for index, record in enumerate(data):
            task = _task(record, (index,), lines, path)
            if task.id in found:
                raise InputError(f"{path}:{lines[(index,)]}: task '{task.id}' is declared twice: rename one")
            found[task.id] = task
    return found


def _task(record: Any, at: tuple[str | int, ...], lines: yamlfile.Lines, path: Path) -> Task:
    try:
        return Task.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = (*at, *first["loc"])
        while place not in lines:  # a missing field has no line of its own: take the record it is missing from
            place = place[:-1]
        what = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}:{lines[place]}: {what + ': ' if what else ''}{first['msg']}") from None


def find(task_id: str, own: Mapping[str, Task] | None = None) -> Task:
    """The task of this id: the study's own first, then the catalog's."""
    if own is not None and task_id in own:
        return own[task_id]
    tasks = catalog()
    if task_id in tasks:
        return tasks[task_id]
    near = suggest(task_id, [*(own or {}), *tasks])
    raise InputError(f"unknown task '{task_id}'{near}: `waystation tasks` lists all")
