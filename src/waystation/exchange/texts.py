"""New texts as people have them: JSONL, CoNLL columns or plain lines, one row each, and rows as a format's examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from waystation.errors import suggest
from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    SpanExample,
    TaggingExample,
)
from waystation.tasks.reading.documents import words
from waystation.tasks.reading.rows import complaint, lines, objects, sound, text_of
from waystation.tasks.reading.tags import BadRow
from waystation.tasks.task import FormatName

Kind = Literal["jsonl", "conll", "lines"]
Row = Mapping[str, Any]
"""One text: ``id`` (optional, any value of JSON) and the fields of ``FIELDS``."""

ENDINGS: dict[str, Kind] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".conll", ".conllu", ".tsv", ".bio", ".iob", ".iob2"), "conll"),
}
"""What a file's ending says; any other is plain lines."""

FIELDS: dict[FormatName, str] = {
    "tagging": "text, or words",
    "classification": "text, maybe pair",
    "multilabel": "text, maybe pair",
    "choice": "text and options, maybe question",
    "span": "context (or text) and question",
}
"""What a row holds for each format."""


def read(path: Path, kind: Kind | None = None) -> Iterator[tuple[str, Row]]:
    """Place (``file:line``) and row of each text of a file; ``kind`` None: by the file's ending.

    ``jsonl``: an object per line. ``conll``: a token per line, its first column, a blank line after each sentence;
    CoNLL-U is known by its ten columns, and the words are the tree's. ``lines``: a text per line; blank ones are
    passed over. Raises InputError with the place.
    """
    kind = kind or ENDINGS.get(path.suffix.lower(), "lines")
    if kind == "jsonl":
        yield from ((f"{path}:{number}", row) for number, row in objects(path))
    elif kind == "lines":
        yield from ((f"{path}:{number}", {"text": line.rstrip("\n")}) for number, line in lines(path) if line.strip())
    else:
        yield from _sentences(path)


def _sentences(path: Path) -> Iterator[tuple[str, Row]]:
    given, above, treebank = lines(path), list[tuple[int, str]](), False
    for number, line in given:  # what begins with # is a comment in a treebank alone: the first other line tells
        above.append((number, line))
        if line.strip() and not line.startswith("#"):
            treebank = re.match(r"\d+(-\d+)?(\t[^\t]*){9}$", line) is not None
            break
    held: list[str] = []
    begun = ""
    for number, line in chain(above, given):
        place = f"{path}:{number}"
        if not line.strip(" \t\n") or line.startswith("-DOCSTART-"):
            if held:
                yield begun, {"words": held}
            held = []
            continue
        try:
            token = _in_treebank(line) if treebank else _first_column(line)
        except BadRow as problem:
            raise complaint(place, problem) from None
        if token is not None:
            begun = begun if held else place
            held.append(token)
    if held:
        yield begun, {"words": held}


def _first_column(line: str) -> str:
    token = line.partition("\t")[0].rstrip("\n") if "\t" in line else line.strip(" \n").partition(" ")[0]
    if not token:
        raise BadRow("the token is empty: fill it in, or remove the line")
    return token


def _in_treebank(line: str) -> str | None:
    """The form of a word; None for a comment, a multiword token (1-2) or an empty node (1.1)."""
    if line.startswith("#") or re.match(r"\d+[-.]\d+\t", line):
        return None
    cells = line.rstrip("\n").split("\t")
    if len(cells) != 10 or not cells[1]:
        raise BadRow("no word of CoNLL-U: ten columns, the second of them the form; correct the line")
    return cells[1]


def example(row: Row, number: int, format: FormatName, filler: str, place: str) -> Example:
    """A row as an example of a format, without its answer: ``filler`` stands for a label or a tag.

    Its id is its ``number``. Raises InputError at ``place`` where the row lacks a field.
    """
    try:
        sound(json.dumps(row.get("id"), ensure_ascii=False, default=str), "id")  # it is written as it was given
        return _example(row, str(number), format, filler)
    except BadRow as problem:
        raise complaint(place, problem) from None


def _example(row: Row, own: str, format: FormatName, filler: str) -> Example:
    if format == "tagging" and "words" in row:
        given = tuple(_texts(row, "words"))
        return TaggingExample(own, given, (filler,) * len(given))
    text = _text(row, "context" if format == "span" and "context" in row else "text", format)
    match format:
        case "tagging":
            cut = tuple(text[begin:end] for begin, end in words(text))
            return TaggingExample(own, cut, (filler,) * len(cut))
        case "span":
            return SpanExample(own, text, _text(row, "question", format), ())
        case "choice":
            options = tuple(_texts(row, "options"))
            if len(options) < 2:
                raise BadRow(f"field 'options' has {len(options)} of them: give two or more")
            question = _text(row, "question", format) if row.get("question") is not None else None
            return ChoiceExample(own, text, options, 0, question)
        case _:
            pair = _text(row, "pair", format) if row.get("pair") is not None else None
            if format == "multilabel":
                return MultilabelExample(own, text, (), pair)
            return ClassificationExample(own, text, filler, pair)


def _text(row: Row, name: str, format: FormatName) -> str:
    if name not in row:
        raise BadRow(f"no field '{name}'{suggest(name, row)}: {format} reads {FIELDS[format]}")
    return text_of(row[name], name)


def _texts(row: Row, name: str) -> list[str]:
    value = row.get(name)
    if not isinstance(value, list):
        raise BadRow(f'field \'{name}\' is not a list of texts: write ["...", "..."]')
    return [text_of(item, name) for item in value]
