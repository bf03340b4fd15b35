"""Values of a row by the names of a reader: dotted paths, filters, texts, and numbers that stand for names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from waystation.errors import suggest
from waystation.tasks.reading.rows import Row, shown, text_of
from waystation.tasks.reading.tags import BadRow
from waystation.tasks.task import Reader

NO_GOLD = -1
"""What a column of numbered names holds where nobody gave a label."""


def field(row: Row, path: str) -> Any:
    """The value at a path: a field of this very name, else one step after the other from each dot to the next.

    A step is a field of an object, a place in a list counted from 0, or a field of every object in a list.
    """
    if path in row:
        return row[path]
    value: Any = row
    done: list[str] = []
    for step in path.split("."):
        value = _step(value, step, ".".join(done))
        done.append(step)
    return value


def _step(value: Any, step: str, before: str) -> Any:
    if isinstance(value, Mapping):
        if step in value:
            return value[step]
        names = list(map(str, value))
        shown_names = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        where = f"'{before}' has" if before else "the object has"
        raise BadRow(f"no field '{step}'{suggest(step, names)}: {where} {shown_names or 'no fields'}")
    if isinstance(value, list) and step.isdecimal():
        if int(step) < len(value):
            return value[int(step)]
        raise BadRow(f"no place {step} in '{before}', which has {len(value)} items: places count from 0")
    if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        return [_step(item, step, before) for item in value]
    raise BadRow(f"no '{step}' in '{before}', which is {shown(value)}: give a field that holds it")


def passes(row: Row, where: Mapping[str, str | tuple[str, ...]]) -> bool:
    """Whether a row's fields are among the values that ``where`` lists, as JSON writes numbers and booleans.

    A value that ends in ``*`` is what the field begins with.
    """
    for name, wanted in where.items():
        value = field(row, name)
        if isinstance(value, (Mapping, list)):
            raise BadRow(f"where: field '{name}' is {shown(value)}, not one value: name a field inside it")
        plain = value if isinstance(value, str) else json.dumps(value, default=str)
        if not any(_is(plain, one) for one in ((wanted,) if isinstance(wanted, str) else wanted)):
            return False
    return True


def _is(value: str, wanted: str) -> bool:
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


def texts(reader: Reader) -> tuple[str, ...]:
    """The fields that a reader's text comes from."""
    return (reader.text,) if isinstance(reader.text, str) else tuple(reader.text or ())


def joined(row: Row, names: Sequence[str]) -> str:
    """The texts of several fields, each a text or a list of texts, with a blank between; never empty."""
    parts: list[str] = []
    for name in names:
        value = field(row, name)
        parts += [text_of(item, name) for item in value] if isinstance(value, list) else [text_of(value, name)]
    text = " ".join(filter(str.strip, parts))
    if not text:
        raise Empty(f"no text in {' or '.join(names)}: fill it in, or remove the row")
    return text


def listed(row: Row, name: str, split: str | None) -> list[Any]:
    """A field that holds a list, or a text that is cut at ``split``; an empty text is an empty list."""
    value = field(row, name)
    if isinstance(value, str) and split is not None:
        return [part.strip() for part in value.split(split)] if value.strip() else []
    if not isinstance(value, list):
        raise BadRow(f"field '{name}' is {shown(value)}, not a list: write [...], or set split to what parts a text")
    return value


def single(value: Any, name: str) -> Any:
    """The one value of a label field; ``Several`` where a list holds more, ``BadRow`` where it holds none."""
    if not isinstance(value, list):
        return value
    if len(value) > 1:
        raise Several
    if not value:
        raise BadRow(f"field '{name}' is an empty list: give one answer, or remove the row")
    return value[0]


class Empty(BadRow):
    """A row has no text."""


class Several(Exception):
    """A label field holds several answers where an example has one."""


def name_of(value: Any, field_name: str, names: Sequence[str]) -> str:
    """A label or tag: a text, or a number that ``names`` spells out; -1 is the name "-1"."""
    number = value
    if names and isinstance(value, str) and value not in names and value.lstrip("-").isdecimal():
        number = int(value)
    if not names or isinstance(number, (str, bool)) or not isinstance(number, int) or number == NO_GOLD:
        return text_of(number, field_name, numbers=True)
    if not 0 <= number < len(names):
        raise BadRow(f"field '{field_name}' is {number}, but names has {len(names)}, counted from 0: complete names")
    return names[number]
