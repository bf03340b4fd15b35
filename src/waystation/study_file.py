"""A study file as text: profiles, overrides, own tasks, and where in the file each problem stands."""

from __future__ import annotations

import copy
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from waystation import yamlfile
from waystation.errors import InputError, suggest
from waystation.records import Record
from waystation.tasks.task import usual_metrics

PHASES = ("intermediate", "target")
"""The keys of ``recipe`` that hold for one phase; fields beside them hold for both."""

PLAIN = {
    r"a valid (dictionary|mapping)( or instance of \w+)?": "a mapping (key: value)",
    r"a valid (tuple|list)": "a list",
    r"a valid string": "text",
    r"a valid integer, unable to parse string as an integer": "a whole number",
    r"a valid number, unable to parse string as a number": "a number",
}
"""What pydantic calls a type → what a writer of YAML calls it."""

Place = tuple[str | int, ...]


class Where:
    """Says where a place in the data was written: file:line, or the ``--set`` that it came from."""

    def __init__(self, path: Path, lines: yamlfile.Lines, root: type[Record]) -> None:
        self.root, self.start = root, f"{path}:1"
        self.written = {place: f"{path}:{line}" for place, line in lines.items()}

    def __call__(self, *place: str | int) -> str:
        """The place itself, else the nearest key around it."""
        return self.written.get(self._nearest(place), self.start)

    def profile(self, name: str, value: Any) -> None:
        """A profile was merged: what it sets stands there from now on."""
        above = ("profiles", name)
        self._merged(value, {place[2:]: line for place, line in self.written.items() if place[:2] == above})

    def override(self, dotted: str, value: Any, lines: yamlfile.Lines) -> None:
        """One ``--set`` was merged; ``value`` is the mapping that it amounts to."""
        parts, name = tuple(dotted.split(".")), f"--set {dotted}"
        above = {parts[:length]: name for length in range(1, len(parts))}
        self._merged(value, above | {(*parts, *place): name for place in lines})

    def problems(self, errors: Sequence[Mapping[str, Any]]) -> list[str]:
        """Pydantic's problems, one line for each place that was written."""
        found: dict[Any, str] = {}
        for item in errors:
            inner = [other["loc"] for other in errors if len(other["loc"]) > len(item["loc"])]
            if item["type"] == "too_short" and any(loc[: len(item["loc"])] == item["loc"] for loc in inner):
                continue  # short only because what is in it was refused
            place = self._short(item["loc"])
            if item["type"] != "missing":
                place = self._nearest(place)  # without the parts that validation adds (which member of a union)
            text = sentence(item, self.root, place)
            found.setdefault((place, item["type"] == "missing"), f"{self(*place)}: {text}")
        return list(found.values())

    def _merged(self, value: Any, places: Mapping[Place, str]) -> None:
        for leaf in _leaves(value):
            self.written = {place: line for place, line in self.written.items() if place[: len(leaf)] != leaf}
        self.written = {**places, **self.written}

    def _nearest(self, place: Place) -> Place:
        short = self._short(place)
        return next((short[:n] for n in range(len(short), 0, -1) if short[:n] in self.written), ())

    def _short(self, place: Place) -> Place:
        """A place as people write it: recipe fields for both phases, and files of an own task right under the split."""
        if place[:1] == ("recipe",) and place not in self.written:
            return tuple(part for part in place if part not in PHASES)
        if place[:1] == ("tasks",) and place[2:3] == ("splits",) and place[:4] not in self.written:
            return (*place[:2], *place[3:4], *(place[5:] if place[4:5] == ("files",) else place[4:]))
        return place


def _leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """The places at which a merge replaces something."""
    if not isinstance(value, dict):
        yield place
        return
    for key, item in value.items():
        yield from _leaves(item, (*place, key))


def sentence(item: Mapping[str, Any], root: type[Record], place: Place | None = None) -> str:
    """One pydantic problem as one line that says what to do; ``place`` is how its place was written."""
    place = item["loc"] if place is None else place
    dotted = ".".join(str(part) for part in place) or "study"
    if item["type"] == "extra_forbidden":
        fields = _fields_at(root, item["loc"][:-1])
        return f"unknown field '{dotted}'{suggest(str(item['loc'][-1]), fields)}; fields here: {', '.join(fields)}"
    if item["type"] == "missing":
        return f"field '{dotted}' is missing: add it"
    text = item["msg"].removeprefix("Value error, ")
    for kind, plain in PLAIN.items():
        text = re.sub(kind, plain, text)
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


def override_field(data: dict[str, Any], override: str, where: Where) -> dict[str, Any]:
    """Apply one ``field.field=value``; the value is read as YAML."""
    dotted, found, text = override.partition("=")
    if not found or not dotted:
        raise InputError(f"--set {override!r} is not of the form field.field=value")
    value, lines = yamlfile.loads(text if text.strip() else "null", f"--set {dotted}")
    change: Any = value
    for part in reversed(dotted.split(".")):
        change = {part: change}
    where.override(dotted, change, lines)
    merged: dict[str, Any] = merge(data, change)
    return merged


def near_study(value: Any, path: Path) -> Any:
    """Relative folders are meant from the study file."""
    name = value if isinstance(value, str) else value.get("id")
    if not isinstance(name, str) or name == "bundled":
        return value
    folder = _beside(path, name)
    if not Path(folder).is_dir():
        return value
    return folder if isinstance(value, str) else {**value, "id": folder}


def near_uses(groups: dict[str, Any], path: Path) -> dict[str, Any]:
    """Intermediate tasks with the folders of their checkpoints meant from the study file."""

    def near(use: Any) -> Any:
        named = isinstance(use, dict) and isinstance(use.get("from"), str)
        return {**use, "from": near_study(use["from"], path)} if named else use

    return {name: list(map(near, uses)) if isinstance(uses, list) else uses for name, uses in groups.items()}


def _beside(path: Path, name: str) -> str:
    """A path that is meant from the study file, made absolute; unchanged where it cannot be (``~nobody``)."""
    try:
        return str((path.parent / Path(name).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError):
        return name


def own_task(name: str, table: Any, study: Path) -> Any:
    """A table of the study file as a task record: id from its key, files by language, path from the file."""
    if not isinstance(table, dict):
        return table
    task = {"id": name, "title": name, **table}
    task["path"] = _beside(study, str(task.get("path", ".")))
    splits = task.get("splits") or {}
    if isinstance(splits, dict):
        splits = dict(splits)
        for split in ("train", "validation", "test"):
            if split in task:
                files = task.pop(split)
                splits[split] = (
                    {"files": {code: _listed(item) for code, item in files.items()}}
                    if isinstance(files, dict)
                    else files
                )
    task["splits"] = splits
    if "metrics" not in task:
        read = task["reader"] if isinstance(task.get("reader"), dict) else {}
        plain, mined = read.get("scheme") == "plain", read.get("kind") == "mining"
        task["metrics"] = list(usual_metrics(str(task.get("format")), plain, mined))
    return task


def _listed(item: Any) -> Any:
    return [item] if isinstance(item, str) else item
