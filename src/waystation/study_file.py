"""A study file as text: profiles, overrides, own tasks, and where in the file each problem stands."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from waystation import yamlfile
from waystation.errors import InputError, suggest
from waystation.records import Record

PHASES = ("intermediate", "target")
"""The keys of ``recipe`` that hold for one phase; fields beside them hold for both."""


class Where:
    """Turns a place in the data into file:line, falling back to the nearest enclosing key."""

    def __init__(self, path: Path, lines: Mapping[tuple[str | int, ...], int], root: type[Record]) -> None:
        self.path, self.lines, self.root = path, lines, root

    def __call__(self, *place: str | int) -> str:
        """file:line of a place."""
        if place[:1] == ("recipe",) and place not in self.lines:
            place = tuple(part for part in place if part not in PHASES)  # a field that was written for both phases
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return f"{self.path}:{self.lines[place[:length]]}"
        return f"{self.path}:1"

    def line_of(self, item: Mapping[str, Any]) -> str:
        """A pydantic problem with its place."""
        return f"{self(*item['loc'])}: {sentence(item, self.root)}"


def sentence(item: Mapping[str, Any], root: type[Record]) -> str:
    """One pydantic problem as one line that says what to do."""
    place = item["loc"]
    dotted = ".".join(str(part) for part in place) or "study"
    if item["type"] == "extra_forbidden":
        fields = _fields_at(root, place[:-1])
        return f"unknown field '{dotted}'{suggest(str(place[-1]), fields)}; fields here: {', '.join(fields)}"
    if item["type"] == "missing":
        return f"field '{dotted}' is missing"
    text = item["msg"].removeprefix("Value error, ")
    shown = repr(item["input"])
    given = "" if len(shown) > 60 or item["type"] == "value_error" else f" (given: {shown})"
    return f"field '{dotted}': {text}{given}"


def _fields_at(record: type[Record], place: Sequence[str | int]) -> list[str]:
    """Names of the fields of the record at a place below ``record``, found through its type annotations."""
    current: Any = record
    for part in place:
        if isinstance(current, type) and issubclass(current, Record):
            field = current.model_fields.get(str(part))
            current = field.annotation if field is not None else None
        else:  # a mapping or a list: go to what it holds
            current = typing.get_args(current)[-1 if typing.get_origin(current) is dict else 0] if current else None
        members = [item for item in typing.get_args(current) if item is not type(None)]
        if typing.get_origin(current) in (typing.Union, types.UnionType):
            current = members[0]
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, Record) else []


def merge(base: Any, change: Any) -> Any:
    """Deep merge of mappings; anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return copy.deepcopy(change)
    return {
        **base,
        **{key: merge(base[key], value) if key in base else copy.deepcopy(value) for key, value in change.items()},
    }


def override_field(data: dict[str, Any], override: str) -> dict[str, Any]:
    """Apply one ``field.field=value``; the value is read as YAML."""
    dotted, found, text = override.partition("=")
    if not found or not dotted:
        raise InputError(f"--set {override!r} is not of the form field.field=value")
    value, _ = yamlfile.loads(text, f"--set {dotted}")
    change: Any = value
    for part in reversed(dotted.split(".")):
        change = {part: change}
    merged: dict[str, Any] = merge(data, change)
    return merged


def near_study(value: Any, path: Path) -> Any:
    """Relative folders are meant from the study file."""
    name = value if isinstance(value, str) else value.get("id")
    if not isinstance(name, str) or name == "bundled":
        return value
    folder = (path.parent / Path(name).expanduser()).resolve()
    if not folder.is_dir():
        return value
    return str(folder) if isinstance(value, str) else {**value, "id": str(folder)}


def own_task(name: str, table: Any, study: Path) -> Any:
    """A table of the study file as a task record: id from its key, files per split and language, path from the file."""
    if not isinstance(table, dict):
        return table
    task = {"id": name, "title": name, **table}
    task["path"] = str((study.parent / Path(str(task.get("path", "."))).expanduser()).resolve())
    splits = dict(task.get("splits") or {})
    for split in ("train", "validation", "test"):
        if isinstance(task.get(split), dict):
            files = task.pop(split)
            splits[split] = {"files": {code: [item] if isinstance(item, str) else item for code, item in files.items()}}
    task["splits"] = splits
    if "metrics" not in task:
        task["metrics"] = (
            ["entity_f1", "token_accuracy"] if task.get("format") == "tagging" else ["accuracy", "macro_f1"]
        )
    return task
