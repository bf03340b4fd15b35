"""Brat's standoff annotation: a folder of texts (``.txt``), each with its entities (``.ann``).

Of the annotations, text-bound ones (``T``) are read; relations, events, attributes, normalisations and notes are
passed over. Fragments with only blanks between them are one span; an entity with other gaps is discontinuous.

Brat knows no sentences. One ends at a line break; after 。 ！ or ？; and after . ! ? or … (and closing quotes or
brackets) where blanks and then anything but a small letter follow. It will end after some abbreviations as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from waystation.errors import InputError
from waystation.tasks.examples import TaggingExample
from waystation.tasks.reading.documents import Entity, Span, sentences, span
from waystation.tasks.reading.rows import Tally, complaint, lines
from waystation.tasks.reading.tags import BadRow, Names
from waystation.tasks.task import FormatName, Reader

_PASSED_OVER = "REAMN#*"
_END = re.compile(r"[\r\n]+|[。！？]+[」』）”’\"')\]]*|[.!?…]+[\"'”’»)\]]*(?=[ \t\u00a0]+(\S))")


def brat(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """Yield the sentences of each document, in the order of file names; the name is their cluster."""
    for file in texts(path):
        text = "".join(line for _, line in lines(file, "\n"))
        notes = file.with_suffix(".ann")
        if not notes.is_file():
            raise InputError(f"{file}: no {notes.name} beside it: add it, empty where there are no entities")
        found = []
        for number, line in lines(notes):
            try:
                entity = _entity(line.rstrip("\n"), text, names, tally)
            except BadRow as problem:
                raise complaint(f"{notes}:{number}", problem) from None
            if entity is not None:
                found.append(entity)
        try:
            yield from sentences(file.stem, text, split(text), found, tally)
        except BadRow as problem:
            raise complaint(notes, problem) from None


def texts(folder: Path) -> list[Path]:
    """The documents of a folder, by name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder: reader brat takes a folder of .txt and .ann files")
    found = sorted(folder.glob("*.txt"))
    if not found:
        raise InputError(f"{folder}: no .txt file in it: name the folder that holds the documents")
    return found


def split(text: str) -> list[Span]:
    """Begin and end of each sentence, without blanks around it."""
    ends = [match.end() for match in _END.finditer(text) if not (match[1] or "").islower()]
    found = []
    for begin, end in zip([0, *ends], [*ends, len(text)], strict=True):
        sentence = text[begin:end]
        if sentence.strip():
            begin += len(sentence) - len(sentence.lstrip())
            found.append((begin, begin + len(sentence.strip())))
    return found


def _entity(line: str, text: str, names: Names, tally: Tally) -> Entity | None:
    """The entity of one line, or None where it is none, renamed to null, or discontinuous."""
    if not line.strip() or line[0] in _PASSED_OVER:
        return None
    cells = line.split("\t")
    kind, _, places = cells[1].partition(" ") if len(cells) == 3 else ("", "", "")
    if not line.startswith("T") or not re.fullmatch(r"\d+ \d+(;\d+ \d+)*", places):
        raise BadRow(f"'{line[:40]}' is no annotation of brat: write T1, tab, type begin end, tab, text")
    fragments = [tuple(map(int, place.split(" "))) for place in places.split(";")]
    for begin, end in fragments:
        span(begin, end, len(text), cells[0])
    covered = " ".join(text[begin:end] for begin, end in fragments)
    if covered.split() != cells[2].split():
        raise BadRow(f"{cells[0]} is '{cells[2][:40]}', but its place holds '{covered[:40]}': correct begin and end")
    label = names(kind)
    if label is None:
        return None
    fragments.sort()  # the words of an entity may stand in another order than in the text
    if any(text[end:begin].strip() for (_, end), (begin, _) in pairwise(fragments)):
        tally.notes["discontinuous"] += 1
        return None
    return fragments[0][0], fragments[-1][1], label
