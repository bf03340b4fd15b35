"""Sentences from one token per line or row: CoNLL columns, tables of tokens, CoNLL-U, CCGbank."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from waystation.errors import InputError
from waystation.tasks.examples import TaggingExample
from waystation.tasks.reading.fields import passes
from waystation.tasks.reading.rows import Tally, complaint, lines, string
from waystation.tasks.reading.streams import columns_text, table
from waystation.tasks.reading.tags import BadRow, Iob2, Names
from waystation.tasks.task import FormatName, Reader

_DOCUMENT = "-DOCSTART-"


def conll(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """One token per line, a blank line after each sentence, ``-DOCSTART-`` before each document (a cluster)."""
    yield from _sentences(_columns(path, reader), reader, names, prefix, tally)


def token_table(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """A table of one token per row; a row without a token ends a sentence, ``-DOCSTART-`` begins a document."""
    if not isinstance(reader.token, str) or not isinstance(reader.tag, str):
        raise InputError(f"{path}: reader table for tagging needs token and tag: name the columns that hold them")
    if reader.id is not None or reader.cluster is not None:
        raise InputError(f"{path}: a table of one token per row has no id and no cluster: leave them out of the reader")
    yield from _sentences(_cells(path, reader, reader.token, reader.tag), reader, names, prefix, tally)


def _columns(path: Path, reader: Reader) -> Iterator[tuple[str, str, str]]:
    """Place, token and tag of each line; no token on a blank line."""
    if not isinstance(reader.token, int) or not isinstance(reader.tag, int):
        raise InputError(f"{path}: reader conll counts columns: give token and tag as numbers, from 0, or -1 for last")
    width = 0
    at = f"{path}:"
    for number, line in lines(path):
        place = f"{at}{number}"
        text = line.rstrip("\n")
        if not text.strip(" \t") or text.startswith(_DOCUMENT):
            yield place, text.strip(" \t"), ""
            continue
        cells = re.split(r"[ \t]+", text.strip(" \t")) if reader.separator is None else text.split(reader.separator)
        width = width or len(cells)
        if len(cells) != width:
            raise InputError(
                f"{place}: {columns_text(len(cells))} where the lines before have {width}: correct it or the separator"
            )
        try:
            yield place, _cell(cells, reader.token, "token"), _cell(cells, reader.tag, "tag")
        except BadRow as problem:
            raise complaint(place, problem) from None


def _cell(cells: Sequence[str], column: int, what: str) -> str:
    if not -len(cells) <= column < len(cells):
        raise BadRow(f"no column {column} for the {what}, only {columns_text(len(cells))}: check separator and {what}")
    if not cells[column].strip():
        raise BadRow(f"the {what} is empty: fill it in, or remove the line")
    return cells[column]


def _cells(path: Path, reader: Reader, token: str, tag: str) -> Iterator[tuple[str, str, str]]:
    for place, row in table(path, reader, list(dict.fromkeys([token, tag, *reader.where])), gaps=True):
        try:
            word = string(row, token)
            if not word.strip():
                yield place, "", ""
            elif passes(row, reader.where):
                yield place, word, string(row, tag)
        except BadRow as problem:
            raise complaint(place, problem) from None


def _sentences(
    tokens: Iterable[tuple[str, str, str]], reader: Reader, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """Sentences from places, tokens and tags; an empty token ends one, ``-DOCSTART-`` a document."""
    convert = Iob2(reader.scheme, names, tally.notes)
    words: list[str] = []
    tags: list[str] = []
    cluster: str | None = None

    def sentence() -> Iterator[TaggingExample]:
        if words:
            tally.rows += 1
            yield TaggingExample(f"{prefix}{tally.rows}", tuple(words), tuple(tags), cluster)
            words.clear()
            tags.clear()
        convert.end()

    for place, token, tag in tokens:
        if not token:
            yield from sentence()
        elif token.startswith(_DOCUMENT):
            yield from sentence()
            tally.documents += 1
            cluster = f"{prefix}document-{tally.documents}"
        else:
            words.append(token)
            try:
                tags.append(convert(tag))
            except BadRow as problem:
                raise complaint(place, problem) from None
    yield from sentence()
