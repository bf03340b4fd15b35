"""Whole documents with character offsets to sentences of words with IOB2 tags: from JSONL, brat, XMI, rows of tables.

Rules, in this order:

1. An entity whose type is mapped to null is not seen. One marked ``discontinuous`` (any true value; in brat, one whose
   fragments have more than blanks between them) is left out: IOB cannot mark a gap. Both as in E3C's own IOB files,
   whose entity counts this reader reproduces.
2. Sentences that one entity crosses become one sentence: nothing is cut.
3. A word is a run of letters, marks, digits and joiners; a CJK ideograph or kana is a word of its own, and so is any
   other visible character. Scripts written without blanks (Thai, Khmer, ...) are not segmented: a run is one word.
4. Where entities overlap, the longest (in characters) stays, of equal ones the earliest, then the first listed.
5. A word belongs to an entity if they share a character.

What 1, 2 and 4 did is counted in the tally's notes.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from waystation.errors import suggest
from waystation.tasks.examples import TaggingExample
from waystation.tasks.reading.fields import field
from waystation.tasks.reading.rows import Row, Tally, claim, complaint, objects, string, text_of
from waystation.tasks.reading.tags import BadRow, Names
from waystation.tasks.task import FormatName, Reader

Span = tuple[int, int]
Entity = tuple[int, int, str]
"""Begin, end (not included), label."""
_JOINERS = "\u200c\u200d\u2060_"
_ALONE = ((0x3005, 0x3007), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


def documents(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """Yield the sentences of each document of a JSONL file; its id is their cluster, their ids ``document/number``."""
    for number, record in objects(path):
        try:
            yield from _document(record, reader, names, tally)
        except BadRow as problem:
            raise complaint(f"{path}:{number}", problem) from None


def _document(record: Row, reader: Reader, names: Names, tally: Tally) -> Iterator[TaggingExample]:
    id_field = reader.id or "doc_id"
    for name in (id_field, "text", "sentences", "entities"):
        if name not in record:
            raise BadRow(f"no field '{name}'{suggest(name, record)}: the document has {', '.join(record)}")
    document = string(record, id_field, numbers=True)
    text = string(record, "text")
    found = entities(record["entities"], "entities", reader.label or "label", len(text), names, tally)
    yield from sentences(document, text, _sentences(record["sentences"], len(text)), found, tally)


def sentences(
    document: str, text: str, spans: Sequence[Span], entities: Sequence[Entity], tally: Tally
) -> Iterator[TaggingExample]:
    """The sentences of one document with the tags that rules 2 to 5 give.

    ``spans``: begin and end of each sentence, in order and apart, and those of ``entities`` are characters of ``text``.
    """
    claim(document, tally)
    cut = [words(text, begin, end) for begin, end in _merged(spans, entities, tally)]
    tags = marked([span for sentence in cut for span in sentence], entities, tally)
    done = 0
    for number, sentence in enumerate(cut, 1):
        if not sentence:
            continue
        tally.rows += 1
        yield TaggingExample(
            f"{document}/{number}",
            tuple(text[begin:end] for begin, end in sentence),
            tuple(tags[done : done + len(sentence)]),
            document,
        )
        done += len(sentence)


@lru_cache(maxsize=65536)
def _kind(character: str) -> str:
    """``" "`` for blanks and invisible characters, ``"w"`` for parts of words, ``"1"`` for what stands alone."""
    code = ord(character)
    if any(low <= code <= high for low, high in _ALONE):
        return "1"
    if character in _JOINERS:
        return "w"
    category = unicodedata.category(character)
    if category[0] in "LMN":
        return "w"
    return " " if category[0] in "ZC" else "1"


def words(text: str, begin: int = 0, end: int | None = None) -> list[Span]:
    """Begin and end of each word and punctuation mark of ``text[begin:end]``, by rule 3."""
    found: list[Span] = []
    start = -1
    end = len(text) if end is None else end
    for index in range(begin, end):
        kind = _kind(text[index])
        if kind == "w":
            start = index if start < 0 else start
            continue
        if start >= 0:
            found.append((start, index))
            start = -1
        if kind == "1":
            found.append((index, index + 1))
    if start >= 0:
        found.append((start, end))
    return found


def span(begin: Any, end: Any, length: int, what: str, unit: str = "characters") -> Span:
    """Begin and end (not included) that must lie in a text of this length; ``what`` names them in the message."""
    if type(begin) is not int or type(end) is not int or not 0 <= begin < end <= length:
        raise BadRow(f"{what} [{begin}, {end}] is no span of the text, which has {length} {unit}: correct it")
    return begin, end


def _sentences(items: Any, length: int) -> list[Span]:
    if not isinstance(items, list) or not items:
        raise BadRow("'sentences' is not a list of [begin, end]: give at least one")
    found: list[Span] = []
    for index, item in enumerate(items):
        if not isinstance(item, list) or len(item) != 2:
            raise BadRow(f"sentences[{index}] is not [begin, end]: correct it")
        found.append(span(item[0], item[1], length, f"sentences[{index}]"))
        if index and found[-1][0] < found[-2][1]:
            raise BadRow(f"sentences[{index}] begins before the one before it ends: order them, without overlap")
    return found


def entities(
    items: Any, name: str, label: str, length: int, names: Names, tally: Tally, unit: str = "characters"
) -> list[Entity]:
    """The entities of a field ``name``: objects with begin (or start), end and a field ``label``, by rule 1."""
    if not isinstance(items, list):
        raise BadRow(f"'{name}' is not a list: write [] where there are none")
    found = []
    for index, item in enumerate(items):
        where = f"{name}[{index}]"
        if not isinstance(item, dict):
            raise BadRow(f"{where} is no object: write {{begin, end, {label}}}")
        try:
            kind = field(item, label)
        except BadRow:
            raise BadRow(f"{where} has no '{label}': write {{begin, end, {label}}}") from None
        begin, end = span(item.get("begin", item.get("start")), item.get("end"), length, where, unit)
        kept = names(text_of(kind, label))
        if kept is None:
            continue
        if item.get("discontinuous"):
            tally.notes["discontinuous"] += 1
            continue
        found.append((begin, end, kept))
    return found


def _merged(sentences: Sequence[Span], entities: Sequence[Entity], tally: Tally) -> list[Span]:
    """Rule 2."""
    begins = [begin for begin, _ in sentences]
    joined = [False] * len(sentences)  # whether a sentence goes on into the next
    for begin, end, _ in entities:
        first = max(0, bisect_right(begins, begin) - 1)
        last = bisect_right(begins, end - 1) - 1
        for index in range(first, last):
            # An entity that only starts in the gap after a sentence does not join that sentence to the next.
            joined[index] = joined[index] or begin < sentences[index][1]
    merged: list[Span] = []
    for index, (begin, end) in enumerate(sentences):
        if index and joined[index - 1]:
            merged[-1] = (merged[-1][0], end)
            tally.notes["merged"] += 1
        else:
            merged.append((begin, end))
    return merged


def marked(spans: Sequence[Span], entities: Sequence[Entity], tally: Tally) -> list[str]:
    """IOB2 tags of the words that lie at ``spans``, by rules 4 and 5."""
    tags = ["O"] * len(spans)
    ends = [end for _, end in spans]
    for begin, end, label in sorted(entities, key=lambda entity: (entity[0] - entity[1], entity[0])):
        first = bisect_right(ends, begin)
        last = first
        while last < len(spans) and spans[last][0] < end:
            last += 1
        if first == last:
            raise BadRow(f"entity [{begin}, {end}] ({label}) covers no word of any sentence: correct its offsets")
        if any(tag != "O" for tag in tags[first:last]):
            tally.notes["overlapping"] += 1
            continue
        tags[first:last] = [f"B-{label}"] + [f"I-{label}"] * (last - first - 1)
    return tags
