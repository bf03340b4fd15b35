"""Labels carried from an example to its translation, by format.

Classification, multilabel and choice copy them. The answer to a question is located in the translated passage
(``answers.py``). Tags are projected over a word alignment (``projection.py``). What cannot be carried is left out, and
counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    SpanExample,
    TaggingExample,
    TextExample,
)
from waystation.tasks.reading.documents import words
from waystation.tasks.translation.answers import locate
from waystation.tasks.translation.fields import Said, Translated, fields
from waystation.tasks.translation.projection import UNKNOWN, Links, project

LOST = ("not translated", "answer not found", "entity not aligned", "no word")
"""Why an example is left out."""


def carry(
    example: Example,
    said: Translated,
    notes: Counter[str],
    *,
    labelled: bool = True,
    links: Links = (),
    plain: bool = False,
) -> Example | None:
    """The example in the other language, or None. ``notes`` count why it was lost, and how answers were found.

    Not ``labelled``: words have no tag and questions no answer, the texts alone are wanted. ``links``: the word
    alignment of a tagged sentence with ``words_of`` its translation; ``plain``: each tag is a label of its own.
    """
    if any(name not in said for name in fields(example) if not name.startswith("answers.")):
        notes["not translated"] += 1
        return None
    match example:
        case TaggingExample():
            return _tagged(example, words_of(said), notes, links if labelled else None, plain)
        case ClassificationExample() | MultilabelExample():
            pair = None if example.pair is None else _or_same(said, "pair", example.pair)
            return replace(example, text=said["text"].text, pair=pair)
        case ChoiceExample():
            options = [_or_same(said, f"options.{n}", option) for n, option in enumerate(example.options)]
            asked = None if example.question is None else _or_same(said, "question", example.question)
            return replace(example, text=said["text"].text, options=tuple(options), question=asked)
        case SpanExample():
            return _answered(example, said, notes, labelled)
        case TextExample():
            return replace(example, text=said["text"].text)
    raise TypeError(f"{type(example).__name__} is not translated: both its sides are there")


def words_of(said: Translated) -> tuple[str, ...]:
    """The words of a translated sentence, as documents are cut into words."""
    text = said["text"].text
    return tuple(text[begin:end] for begin, end in words(text))


def _or_same(said: Translated, field: str, text: str) -> str:
    return said[field].text if field in said else text


def _tagged(
    example: TaggingExample, found: Sequence[str], notes: Counter[str], links: Links | None, plain: bool
) -> TaggingExample | None:
    if not found:
        notes["no word"] += 1
        return None
    unknown = [UNKNOWN] * len(found)
    tags = unknown if links is None else project(example.tags, len(found), links, notes, plain)
    if tags is None or (links is not None and tags == unknown):
        notes["entity not aligned"] += 1
        return None
    return replace(example, words=tuple(found), tags=tuple(tags))


def _answered(example: SpanExample, said: Translated, notes: Counter[str], labelled: bool) -> SpanExample | None:
    context, question = said["context"].text, said["question"].text
    answers: list[tuple[str, int]] = []
    for number, (text, start) in enumerate(example.answers if labelled else ()):
        near = (start + len(text) / 2) / max(1, len(example.context))
        found = _place(context, said.get(f"answers.{number}"), near)
        notes["answers"] += 1
        if found is not None:
            begin, end, how = found
            notes[f"answers found: {how}"] += 1
            answers.append((context[begin:end], begin))
    if labelled and example.answers and not answers:
        notes["answer not found"] += 1
        return None
    return replace(example, context=context, question=question, answers=tuple(answers))


def _place(context: str, answer: Said | None, near: float) -> tuple[int, int, str] | None:
    if answer is None:
        return None
    if answer.start is not None and context.startswith(answer.text, answer.start):
        return answer.start, answer.start + len(answer.text), "given"
    return locate(context, answer.text, near)
