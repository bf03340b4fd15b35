"""One row of a table to a tagged sentence: from lists of tokens and tags, or from spans in tokens or in characters."""

from __future__ import annotations

from typing import Any

from waystation.tasks.examples import TaggingExample
from waystation.tasks.reading.documents import Entity, entities, marked, span, words
from waystation.tasks.reading.fields import field, joined, listed, name_of, texts
from waystation.tasks.reading.rows import Row, Tally, shown, sound, text_of
from waystation.tasks.reading.tags import BadRow, Iob2, Names
from waystation.tasks.task import Reader


def tagged(row: Row, reader: Reader, names: Names, own: str, cluster: str | None, tally: Tally) -> TaggingExample:
    """The sentence of a row. Spans are marked by rules 1, 4 and 5 of ``documents.py``; raises ``BadRow``."""
    if isinstance(reader.token, str):
        tokens = _tokens(row, reader.token, reader.split)
        tags = _tags(row, reader, names, tally) if reader.spans is None else None
    else:
        text = joined(row, texts(reader))
        places = words(text)
        tokens = [text[begin:end] for begin, end in places]
        tags = marked(places, _spans(row, reader, len(text), "characters", names, tally), tally)
    if tags is None:
        places = [(place, place + 1) for place in range(len(tokens))]
        tags = marked(places, _spans(row, reader, len(tokens), "tokens", names, tally), tally)
    if not tokens or len(tokens) != len(tags):
        raise BadRow(f"{len(tokens)} tokens and {len(tags)} tags: give one tag for each token, and at least one")
    return TaggingExample(own, tuple(tokens), tuple(tags), cluster)


def _tokens(row: Row, name: str, split: str | None) -> list[str]:
    items = listed(row, name, split)
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise BadRow(f"field '{name}' is not a list of non-empty strings: correct it")
    for item in items:
        sound(item, name)
    return items


def _tags(row: Row, reader: Reader, names: Names, tally: Tally) -> list[str]:
    name = str(reader.tag)
    items = listed(row, name, reader.split)
    if not reader.names and not all(isinstance(item, str) and item.strip() for item in items):
        raise BadRow(
            f"field '{name}' is not a list of non-empty strings: write names, or say what numbers are in names"
        )
    return list(map(Iob2(reader.scheme, names, tally.notes), (name_of(item, name, reader.names) for item in items)))


def _spans(row: Row, reader: Reader, length: int, unit: str, names: Names, tally: Tally) -> list[Entity]:
    """Entities from objects, or from lists [first, last, label] in tokens and [begin, end, label] in characters."""
    name = str(reader.spans)
    items: Any = field(row, name)
    if not isinstance(items, list) or not any(isinstance(item, list) for item in items):
        return entities(items, name, reader.label or "label", length, names, tally, unit)
    found = []
    for number, item in enumerate(items):
        where = f"{name}[{number}]"
        if not isinstance(item, list) or len(item) != 3:
            raise BadRow(f"{where} is {shown(item)}, not [begin, end, label]: correct it")
        begin, end, kind = item
        begin, end = span(begin, end + 1 if unit == "tokens" and type(end) is int else end, length, where, unit)
        label = names(text_of(kind, where))
        if label is not None:
            found.append((begin, end, label))
    return found
