"""UIMA CAS documents in XMI: a folder of XML files, each with a text, its sentences and annotations on it.

An entity is an element with ``begin`` and ``end``: of the type that the reader's ``label`` names, else of any type that
the task has as a label or in its rename. After a dot, ``label`` names the attribute that says an entity's type instead
("Mention.value"). One with an attribute ``discontinuous`` that is not empty is left out. Offsets count UTF-16 units, as
UIMA does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.parsers import expat

from waystation.errors import InputError
from waystation.tasks.examples import TaggingExample
from waystation.tasks.reading.documents import Entity, Span, sentences, span
from waystation.tasks.reading.rows import Tally, complaint
from waystation.tasks.reading.tags import BadRow, Names
from waystation.tasks.task import FormatName, Reader


def xmi(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """Yield the sentences of each document, in the order of file names; the name is their cluster."""
    for file in files(path):
        try:
            found = _Found(file, reader.label, names)
            text, cut, entities = found.content(tally)
            yield from sentences(file.stem, text, cut, entities, tally)
        except BadRow as problem:
            raise complaint(file, problem) from None


def files(folder: Path) -> list[Path]:
    """The documents of a folder, by name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder: reader xmi takes a folder of .xml or .xmi files")
    found = sorted(file for file in folder.iterdir() if file.suffix in (".xml", ".xmi"))
    if not found:
        raise InputError(f"{folder}: no .xml or .xmi file in it: name the folder that holds the documents")
    return found


class _Found:
    """What one file holds. Declarations of document types are refused, so that no entity of XML's is ever expanded."""

    def __init__(self, file: Path, label: str | None, names: Names) -> None:
        self._element, _, self._attribute = (label or "").partition(".")
        self._names = names
        self._texts: list[str] = []
        self._sentences: list[dict[str, str]] = []
        self._entities: list[tuple[str, dict[str, str]]] = []
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._refuse
        try:
            with file.open("rb") as source:
                parser.ParseFile(source)
        except expat.ExpatError as error:
            what = expat.errors.messages[error.code]
            raise InputError(f"{file}:{error.lineno}: not XML ({what}): fetch the file again") from None
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}): check its permissions") from None

    def _refuse(self, *_: object) -> None:
        raise BadRow("a document type is declared (<!DOCTYPE>), which XMI has not: remove it")

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        name = element.rpartition(" ")[2]
        if name == "Sofa" and "sofaString" in attributes:
            self._texts.append(attributes["sofaString"])
        elif name == "Sentence":
            self._sentences.append(attributes)
        elif name == self._element if self._element else self._names.knows(name):
            if self._attribute and self._attribute not in attributes:
                raise BadRow(f"a {name} has no attribute '{self._attribute}': correct the reader's label")
            self._entities.append((attributes[self._attribute] if self._attribute else name, attributes))

    def content(self, tally: Tally) -> tuple[str, list[Span], list[Entity]]:
        """The text, its sentences in order, and the entities that ``names`` keeps."""
        if len(self._texts) != 1:
            raise BadRow(f"{len(self._texts)} texts (Sofa with sofaString), not one: export one document per file")
        (text,) = self._texts
        units = _units(text)
        cut = sorted(self._span(item, text, units, "a Sentence") for item in self._sentences)
        if not cut:
            raise BadRow("no Sentence: export the sentences with the document")
        for before, after in pairwise(cut):
            if after[0] < before[1]:
                raise BadRow(f"sentences {list(before)} and {list(after)} overlap: correct one")
        entities: list[Entity] = []
        for kind, item in self._entities:
            begin, end = self._span(item, text, units, f"a {kind}")
            label = self._names(kind)
            if label is None:
                continue
            if item.get("discontinuous"):
                tally.notes["discontinuous"] += 1
                continue
            entities.append((begin, end, label))
        return text, cut, entities

    def _span(self, item: dict[str, str], text: str, units: list[int], what: str) -> Span:
        try:
            begin, end = int(item.get("begin", "")), int(item.get("end", ""))
        except ValueError:
            raise BadRow(f"{what} without begin and end in whole numbers: correct it") from None
        return span(bisect_left(units, begin) if units else begin, bisect_left(units, end) if units else end,
                    len(text), what)  # fmt: skip


def _units(text: str) -> list[int]:
    """Where each character begins in UTF-16 units; empty where that is its number."""
    if not text or max(text) <= "\uffff":
        return []
    units, at = [], 0
    for character in text:
        units.append(at)
        at += 1 + (character > "\uffff")
    return [*units, at]
