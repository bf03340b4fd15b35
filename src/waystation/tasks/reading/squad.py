"""SQuAD's JSON (v1.1 and v2.0): articles of passages of questions, each with answers that stand in the passage.

The file is one JSON object, so it is read as a whole. An answer stands where its ``answer_start`` (in characters) says.
Copies that cut blanks off a passage move it by a few characters: it is then looked for nearby, and counted as "moved"
in the tally's notes. Anything else is refused with its place in the file, as are questions without an answer, unless
the reader says ``unanswerable``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.tasks.examples import SpanExample
from waystation.tasks.reading.rows import Row, Tally, claim, complaint, document, numbered, shown, string
from waystation.tasks.reading.tags import BadRow, Names
from waystation.tasks.task import FormatName, Reader

NEAR = 8
"""Characters by which an answer may be off."""


def squad(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[SpanExample]:
    """Yield the questions of one file. Clusters (passages, or articles) are numbered by first appearance."""
    if reader.cluster not in (None, "context", "title"):
        raise InputError(f"{path}: reader squad has no cluster '{reader.cluster}': write context or title")
    place = "the file"
    try:
        for a, article in enumerate(_objects(_load(path), "data")):
            place = f"data[{a}]"
            for p, passage in enumerate(_objects(article, "paragraphs")):
                place = f"data[{a}].paragraphs[{p}]"
                context = _text(passage, "context")
                cluster = numbered(_text(article, "title") if reader.cluster == "title" else context, tally)
                for q, question in enumerate(_objects(passage, "qas")):
                    place = f"data[{a}].paragraphs[{p}].qas[{q}]"
                    yield _question(question, reader, context, cluster, prefix, tally)
    except BadRow as problem:
        raise complaint(f"{path}: {place}", problem) from None


def _load(path: Path) -> dict[str, Any]:
    found = document(path)
    if not isinstance(found, dict):
        raise BadRow(f"a JSON {type(found).__name__}, not an object: give one object with the field data")
    return found


def _question(
    question: dict[str, Any], reader: Reader, context: str, cluster: str, prefix: str, tally: Tally
) -> SpanExample:
    tally.rows += 1
    own = f"{prefix}{tally.rows}"
    if reader.id is not None:
        own = string(question, reader.id, numbers=True)
        claim(own, tally)
    asked = _text(question, "question")
    answers = _objects(question, "answers")
    if question.get("is_impossible") and (answers or not reader.unanswerable):
        hint = "it has answers: correct one" if answers else "set unanswerable: true in the reader, or remove it"
        raise BadRow(f"the question is marked is_impossible: {hint}")
    if not answers and not reader.unanswerable:
        raise BadRow("the question has no answers: add one, or remove the question (test files may come without)")
    found = tuple(answer_in(context, answer, number, tally) for number, answer in enumerate(answers))
    return SpanExample(own, context, asked, found, cluster)


def answer_in(context: str, answer: Row, number: int, tally: Tally) -> tuple[str, int]:
    """Text of an answer {text, answer_start} without blanks around it, and where it begins in the context."""
    where = f"answers[{number}]"
    try:
        whole, start = string(answer, "text"), answer.get("answer_start")
    except BadRow as problem:
        raise BadRow(f"{where}: {problem}") from None
    text = whole.strip()
    if not text:
        raise BadRow(f"{where} is empty: fill it in, or remove the question (test files may come without answers)")
    if type(start) is not int:
        raise BadRow(f"{where}: answer_start is {shown(start)}, not a whole number: count characters from 0")
    start += len(whole) - len(whole.lstrip())
    if start >= 0 and context.startswith(text, start):
        return text, start
    near = [at for at in range(max(0, start - NEAR), start + NEAR + 1) if context.startswith(text, at)]
    if not near:
        raise BadRow(
            f"{where} does not stand at character {start} of the context, nor {NEAR} around: correct answer_start"
        )
    tally.notes["moved"] += 1
    return text, min(near, key=lambda at: abs(at - start))


def _objects(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A field that must be a list of objects."""
    if name not in record:
        raise BadRow(f"no field '{name}'{suggest(name, record)}: there is {', '.join(record) or 'none'}")
    items = record[name]
    if not isinstance(items, list):
        raise BadRow(f"field '{name}' is no list: write [{{...}}]")
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise BadRow(f"{name}[{number}] is a JSON {type(item).__name__}, not an object: write {{...}}")
    return items


def _text(record: dict[str, Any], name: str) -> str:
    """A field that must be a text."""
    if name not in record:
        raise BadRow(f"no field '{name}'{suggest(name, record)}: there is {', '.join(record) or 'none'}")
    text = string(record, name)
    if not text.strip():
        raise BadRow(f"the {name} is empty: fill it in, or remove what belongs to it")
    return text
