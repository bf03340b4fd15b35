"""Readers: files in, a stream of examples out. ``docs/reference/readers.md`` tells what each kind takes.

Every complaint is one line that begins with the file and the place in it. No file is held in memory as a whole, but
JSON documents (SQuAD's among them) and single documents of a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from waystation.errors import InputError
from waystation.tasks.examples import Example
from waystation.tasks.reading import streams
from waystation.tasks.reading.brat import brat
from waystation.tasks.reading.brat import texts as brat_texts
from waystation.tasks.reading.building import build, wanted
from waystation.tasks.reading.conll import conll, token_table
from waystation.tasks.reading.documents import documents
from waystation.tasks.reading.fields import passes
from waystation.tasks.reading.lines import lines
from waystation.tasks.reading.nli4ct import nli4ct, trials
from waystation.tasks.reading.parquet import parquet
from waystation.tasks.reading.rows import Tally, complaint
from waystation.tasks.reading.squad import squad
from waystation.tasks.reading.tags import BadRow, Names
from waystation.tasks.reading.trees import ccgbank, conllu
from waystation.tasks.reading.xmi import files as xmi_files
from waystation.tasks.reading.xmi import xmi
from waystation.tasks.task import FormatName, Reader

VERSION = 1
"""Raised by one whenever a reader makes other examples of the same bytes: it is part of every task's fingerprint."""


def read_file(
    path: Path,
    reader: Reader,
    format: FormatName,
    names: Names,
    *,
    prefix: str = "",
    tally: Tally | None = None,
) -> Iterator[Example]:
    """Yield the examples of one file (of one folder for brat and xmi), tags in IOB2 over the labels ``names`` leads to.

    Ids are ``prefix`` and the number of the row or sentence in the file, counted before any is left out but after
    ``where``, or what the file itself says. A file without examples is an error.
    """
    tally = Tally() if tally is None else tally
    kinds = [kind for kind, (_, formats) in _KINDS.items() if format in formats]
    if reader.kind not in kinds:
        raise InputError(f"{path}: reader '{reader.kind}' makes no {format} examples: use {', '.join(kinds)}")
    found = 0
    before, passed_over = tally.rows, tally.passed_over
    for example in _KINDS[reader.kind][0](path, reader, format, names, prefix, tally):
        found += 1
        yield example
    if not found:
        rows = tally.rows - before
        why = f"all {rows} rows are left out by rename" if rows else "it is empty"
        if rows and not tally.notes["left out"]:
            why = f"all {rows} rows are left out: they have several answers, or no options"
        elif not rows and tally.passed_over > passed_over:
            why = "no row has what where asks for"
        raise InputError(f"{path}: no examples ({why}): check the file and the task's reader")


def inputs(path: Path, reader: Reader) -> list[Path]:
    """The files whose content reading ``path`` depends on, in a fixed order: itself, or those of the folder it is."""
    match reader.kind:
        case "brat":
            return [file.with_suffix(suffix) for file in brat_texts(path) for suffix in (".txt", ".ann")]
        case "xmi":
            return xmi_files(path)
        case "nli4ct":
            return [path, *sorted(trials(path, reader).glob("*.json"))]
        case _:
            return [path]


def _rows(path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally) -> Iterator[Example]:
    """A row is an example; of a table that is tagged, it is a token, unless ``split`` or ``spans`` say otherwise."""
    if (reader.kind, format, reader.split, reader.spans) == ("table", "tagging", None, None):
        yield from token_table(path, reader, format, names, prefix, tally)
        return
    for place, row in _STREAMS[reader.kind](path, reader, wanted(path, reader, format)):
        try:
            if not passes(row, reader.where):
                tally.passed_over += 1
                continue
            example = build(row, reader, format, names, prefix, tally)
        except BadRow as problem:
            raise complaint(place, problem) from None
        if example is not None:
            yield example


_Source = Callable[[Path, Reader, FormatName, Names, str, Tally], Iterator[Example]]
_STREAMS = {"table": streams.table, "jsonl": streams.jsonl, "json": streams.json, "parquet": parquet}
_ROW_FORMATS: tuple[FormatName, ...] = ("classification", "multilabel", "choice", "span", "tagging", "mlm")
_KINDS: dict[str, tuple[_Source, tuple[FormatName, ...]]] = {
    "conll": (conll, ("tagging",)),
    "conllu": (conllu, ("tagging",)),
    "ccgbank": (ccgbank, ("tagging",)),
    "squad": (squad, ("span",)),
    "table": (_rows, ("classification", "multilabel", "choice", "tagging", "mlm")),
    "jsonl": (_rows, _ROW_FORMATS),
    "json": (_rows, _ROW_FORMATS),
    "parquet": (_rows, _ROW_FORMATS),
    "nli4ct": (nli4ct, ("classification",)),
    "documents": (documents, ("tagging",)),
    "brat": (brat, ("tagging",)),
    "xmi": (xmi, ("tagging",)),
    "lines": (lines, ("mlm",)),
}
"""Kind → what reads it, and the formats it makes."""
