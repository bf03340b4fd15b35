"""Readers: one file in, a stream of examples out. No file is ever held in memory as a whole.

Every complaint is one line that begins with ``file:line``. Whole documents are read by ``documents.py``. SQuAD's JSON,
read by ``squad.py``, is one object in memory; complaints name the place in it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.tasks.documents import documents
from waystation.tasks.examples import ClassificationExample, Example, TaggingExample
from waystation.tasks.rows import Tally, claim, lines, numbered, objects, sound, string
from waystation.tasks.squad import squad
from waystation.tasks.tags import BadRow, Iob2, Names
from waystation.tasks.task import FormatName, Reader

VERSION = 1
"""Raised by one whenever a reader makes other examples of the same bytes: it is part of every task's fingerprint."""

_FIELD_LIMIT = 2**24  # characters in one quoted field; beyond it, a quote was left open and swallowed the file


def read_file(
    path: Path,
    reader: Reader,
    format: FormatName,
    names: Names,
    *,
    prefix: str = "",
    tally: Tally | None = None,
) -> Iterator[Example]:
    """Yield the examples of one file, tags in IOB2 over the labels that ``names`` leads to.

    Ids are ``prefix`` and the number of the row or sentence in the file, counted before any is left out, or what the
    reader's id column says. A file without examples is an error.
    """
    tally = Tally() if tally is None else tally
    kinds = {
        "tagging": ("conll", "jsonl", "documents"),
        "classification": ("table", "jsonl"),
        "span": ("squad",),
    }[format]
    if reader.kind not in kinds:
        raise InputError(f"{path}: reader '{reader.kind}' makes no {format} examples: use {' or '.join(kinds)}")
    found = 0
    before = tally.rows
    for example in _KINDS[reader.kind](path, reader, format, names, prefix, tally):
        found += 1
        yield example
    if not found:
        rows = tally.rows - before
        why = f"all {rows} rows are left out by rename" if rows else "it is empty"
        raise InputError(f"{path}: no examples ({why}): check the file and the task's reader")


def conll(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """One token per line, a blank line after each sentence, ``-DOCSTART-`` before each document (a cluster)."""
    if not isinstance(reader.token, int) or not isinstance(reader.tag, int):
        raise InputError(f"{path}: reader conll counts columns: give token and tag as numbers, from 0, or -1 for last")
    convert = Iob2(reader.scheme, names, tally.notes)
    words: list[str] = []
    tags: list[str] = []
    cluster: str | None = None
    width = 0

    def sentence() -> Iterator[TaggingExample]:
        if words:
            tally.rows += 1
            yield TaggingExample(f"{prefix}{tally.rows}", tuple(words), tuple(tags), cluster)
            words.clear()
            tags.clear()
        convert.end()

    for number, line in lines(path):
        text = line.rstrip("\n")
        if not text.strip(" \t"):
            yield from sentence()
            continue
        if text.startswith("-DOCSTART-"):
            yield from sentence()
            tally.documents += 1
            cluster = f"{prefix}document-{tally.documents}"
            continue
        cells = re.split(r"[ \t]+", text.strip(" \t")) if reader.separator is None else text.split(reader.separator)
        width = width or len(cells)
        try:
            if len(cells) != width:
                raise BadRow(f"{_columns(len(cells))} where the lines before have {width}: correct it or the separator")
            words.append(_cell(cells, reader.token, "token"))
            tags.append(convert(_cell(cells, reader.tag, "tag")))
        except BadRow as problem:
            raise InputError(f"{path}:{number}: {problem}") from None
    yield from sentence()


def _columns(count: int) -> str:
    return f"{count} column" + ("" if count == 1 else "s")


def _cell(cells: Sequence[str], column: int, what: str) -> str:
    if not -len(cells) <= column < len(cells):
        raise BadRow(f"no column {column} for the {what}, only {_columns(len(cells))}: check separator and {what}")
    if not cells[column].strip():
        raise BadRow(f"the {what} is empty: fill it in, or remove the line")
    return cells[column]


def table(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[ClassificationExample]:
    """TSV or CSV, one row an example. The separator is a tab unless given; without header columns are "0", "1", ..."""
    rows = _rows(path, reader)
    first = next(rows, None)
    if first is None:
        return
    number, cells = first
    columns = cells if reader.header else [str(index) for index in range(len(cells))]
    wanted = _wanted(path, reader)
    places = {name: _place(name, columns, path, number, reader) for name in wanted}
    pending = None if reader.header else first
    blank = 0
    while True:
        row = pending or next(rows, None)
        pending = None
        if row is None:
            return
        number, cells = row
        if len(columns) > 1 and cells in ([], [""]):
            blank = blank or number
            continue
        try:
            if blank:
                number = blank
                raise BadRow("a blank line inside the table: remove it, or quote the text it belongs to")
            if len(cells) != len(columns):
                hint = "set quoting: false if quotes are plain characters" if reader.quoting else "check the separator"
                raise BadRow(f"{_columns(len(cells))} where {len(columns)} are expected: correct the row, or {hint}")
            record = {name: cells[place] for name, place in places.items()}
            example = _classified(record, reader, names, prefix, tally)
        except BadRow as problem:
            raise InputError(f"{path}:{number}: {problem}") from None
        if example is not None:
            yield example


def _rows(path: Path, reader: Reader) -> Iterator[tuple[int, list[str]]]:
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


def _place(name: str, columns: Sequence[str], path: Path, number: int, reader: Reader) -> int:
    if columns.count(name) == 1:
        return columns.index(name)
    if name in columns:
        raise InputError(f"{path}:{number}: column '{name}' occurs twice: rename one")
    hint = "" if len(columns) > 1 else ": check the separator"
    shown = ", ".join(columns[:20]) or "a blank line there"
    raise InputError(f"{path}:{number}: no column '{name}'{suggest(name, columns)}; the file has {shown}{hint}")


def jsonl(path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally) -> Iterator[Example]:
    """One JSON object per line: for classification texts and a label, for tagging two lists of strings."""
    wanted = _wanted(path, reader) if format == "classification" else _lists(path, reader)
    for number, record in objects(path):
        try:
            for name in wanted:
                if name not in record:
                    raise BadRow(f"no field '{name}'{suggest(name, record)}: the object has {', '.join(record)}")
            example: Example | None
            if format == "classification":
                example = _classified(record, reader, names, prefix, tally)
            else:
                example = _tagged(record, reader, names, prefix, tally)
        except BadRow as problem:
            raise InputError(f"{path}:{number}: {problem}") from None
        if example is not None:
            yield example


def _texts(reader: Reader) -> tuple[str, ...]:
    return (reader.text,) if isinstance(reader.text, str) else tuple(reader.text or ())


def _wanted(path: Path, reader: Reader) -> list[str]:
    """Columns that a classification reader needs."""
    if not _texts(reader) or reader.label is None:
        raise InputError(f"{path}: reader {reader.kind} needs text and label: name their columns")
    chosen = [*_texts(reader), reader.pair, reader.label, reader.id, reader.cluster]
    return [name for name in dict.fromkeys(chosen) if name is not None]


def _lists(path: Path, reader: Reader) -> list[str]:
    """Columns that a tagging jsonl reader needs."""
    if not isinstance(reader.token, str) or not isinstance(reader.tag, str):
        raise InputError(f"{path}: reader jsonl for tagging needs token and tag: name the fields that hold the lists")
    return [name for name in (reader.token, reader.tag, reader.id, reader.cluster) if name is not None]


def _classified(
    record: Mapping[str, Any], reader: Reader, names: Names, prefix: str, tally: Tally
) -> ClassificationExample | None:
    """The example of one row, or None where ``rename`` leaves its label out."""
    tally.rows += 1
    text = " ".join(part for part in (string(record, name) for name in _texts(reader)) if part.strip())
    if not text:
        raise BadRow(f"no text in {' or '.join(_texts(reader))}: fill it in, or remove the row")
    pair = None if reader.pair is None else string(record, reader.pair)
    if pair is not None and not pair.strip():
        raise BadRow(f"no text in {reader.pair}: fill it in, or remove the row")
    own, cluster = _own(record, reader, tally)
    assert reader.label is not None
    label = names(string(record, reader.label, numbers=True))
    if label is None:
        tally.notes["left out"] += 1
        return None
    return ClassificationExample(own or f"{prefix}{tally.rows}", text, label, pair, cluster)


def _tagged(record: Mapping[str, Any], reader: Reader, names: Names, prefix: str, tally: Tally) -> TaggingExample:
    tally.rows += 1
    lists: list[list[str]] = []
    for name in (str(reader.token), str(reader.tag)):
        items = record[name]
        if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
            raise BadRow(f"field '{name}' is not a list of non-empty strings: write names, not numbers")
        for item in items:
            sound(item, name)
        lists.append(items)
    words, tags = lists
    if not words or len(words) != len(tags):
        raise BadRow(f"{len(words)} tokens and {len(tags)} tags: give one tag for each token, and at least one")
    convert = Iob2(reader.scheme, names, tally.notes)
    own, cluster = _own(record, reader, tally)
    return TaggingExample(own or f"{prefix}{tally.rows}", tuple(words), tuple(map(convert, tags)), cluster)


def _own(record: Mapping[str, Any], reader: Reader, tally: Tally) -> tuple[str | None, str | None]:
    """Id and cluster that the row itself gives.

    A cluster column that is also a text of the example is numbered by first appearance.
    """
    own = None
    if reader.id is not None:
        own = string(record, reader.id, numbers=True)
        claim(own, tally)
    if reader.cluster is None:
        return own, None
    cluster = string(record, reader.cluster, numbers=True)
    if reader.cluster in (*_texts(reader), reader.pair):
        cluster = numbered(cluster, tally)
    if not cluster.strip():
        raise BadRow(f"cluster '{reader.cluster}' is empty: fill it in")
    return own, cluster


_Source = Callable[[Path, Reader, FormatName, Names, str, Tally], Iterator[Example]]
_KINDS: dict[str, _Source] = {"conll": conll, "table": table, "jsonl": jsonl, "documents": documents, "squad": squad}
