"""Rows of tables and of JSON, one after the other, each with its place: ``file:line`` or a place in the document."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.tasks.reading.fields import field
from waystation.tasks.reading.rows import Row, complaint, document, lines, objects
from waystation.tasks.reading.tags import BadRow
from waystation.tasks.task import Reader

KEY = "#"
"""The field that holds the key of a row in an object of objects."""
_FIELD_LIMIT = 2**24  # characters in one quoted field; beyond it, a quote was left open and swallowed the file


def columns_text(count: int) -> str:
    """``1 column``, ``2 columns``."""
    return f"{count} column" + ("" if count == 1 else "s")


def table(path: Path, reader: Reader, wanted: Sequence[str], gaps: bool = False) -> Iterator[tuple[str, Row]]:
    """TSV or CSV: the ``wanted`` columns of each row. The separator is a tab unless given.

    Without header columns are "0", "1", ... With ``gaps`` a blank line is a row of empty fields, else an error before
    the last row.
    """
    rows = _cells(path, reader)
    first = next(rows, None)
    if first is None:
        return
    number, cells = first
    columns = cells if reader.header else [str(index) for index in range(len(cells))]
    places = {name: _place(name, columns, f"{path}:{number}") for name in wanted}
    at = f"{path}:"  # once: every row has a place
    pending = None if reader.header else first
    blank = 0
    while True:
        row = pending or next(rows, None)
        pending = None
        if row is None:
            return
        number, cells = row
        if len(columns) > 1 and cells in ([], [""]):
            if gaps:
                yield f"{path}:{number}", dict.fromkeys(places, "")
            blank = blank or number
            continue
        if blank and not gaps:
            raise InputError(
                f"{path}:{blank}: a blank line inside the table: remove it, or quote the text it belongs to"
            )
        if len(cells) != len(columns):
            hint = "set quoting: false if quotes are plain characters" if reader.quoting else "check the separator"
            raise InputError(
                f"{path}:{number}: {columns_text(len(cells))} where {len(columns)} are expected: "
                f"correct the row, or {hint}"
            )
        yield f"{at}{number}", {name: cells[place] for name, place in places.items()}


def _cells(path: Path, reader: Reader) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line each begins in."""
    separator = "\t" if reader.separator is None else reader.separator
    if not reader.quoting:
        for number, line in lines(path):
            yield number, line.rstrip("\n").split(separator)
        return
    if len(separator) != 1:
        raise InputError(f"{path}: separator '{separator}' has {len(separator)} characters: with quoting, give one")
    # The csv module's own limit (128 KiB) is smaller than one long document; it is a setting of the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))
    rows = csv.reader((line for _, line in lines(path)), delimiter=separator, strict=True)
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise InputError(
                f"{path}:{number}: {error}: close the quote, or set quoting: false if quotes are plain characters"
            ) from None
        if row is None:
            return
        yield number, row


def _place(name: str, columns: Sequence[str], where: str) -> int:
    if columns.count(name) == 1:
        return columns.index(name)
    if name in columns:
        raise complaint(where, f"column '{name}' occurs twice: rename one")
    hint = "" if len(columns) > 1 else ": check the separator"
    shown = ", ".join(columns[:20]) or "a blank line there"
    raise complaint(where, f"no column '{name}'{suggest(name, columns)}; the file has {shown}{hint}")


def jsonl(path: Path, reader: Reader, wanted: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """One JSON object per line."""
    at = f"{path}:"
    for number, row in objects(path):
        yield f"{at}{number}", row


def json(path: Path, reader: Reader, wanted: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """One JSON document: the list of objects, or the object of objects, at the path ``reader.rows``."""
    rows: Any = document(path)
    name = "the file" if reader.rows is None else reader.rows
    try:
        if reader.rows is not None:
            rows = field(rows if isinstance(rows, dict) else {}, reader.rows)
        if not isinstance(rows, (list, dict)):
            raise BadRow(f"a JSON {type(rows).__name__}, not a list or object of rows: set rows to the path to them")
    except BadRow as problem:
        raise complaint(f"{path}: {name}", problem) from None
    for key, row in enumerate(rows) if isinstance(rows, list) else rows.items():
        place = f"{path}: {'' if reader.rows is None else reader.rows}[{key}]"
        if not isinstance(row, dict):
            raise complaint(place, f"a JSON {type(row).__name__}, not an object: set rows to the path to the objects")
        yield place, row if isinstance(rows, list) else {KEY: str(key), **row}
