"""Test sets with hidden labels: what stands in their place is refused, since no score can be made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from waystation.errors import InputError
from waystation.scoring.placeholders import ENOUGH, placeholder
from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    RetrievalExample,
    SpanExample,
    TaggingExample,
    TextExample,
)


def revealed(examples: Iterator[Example], as_written: Callable[[], Iterable[Example]], path: Path) -> Iterator[Example]:
    """The same examples of a test set; InputError at the end where their labels are placeholders.

    Fewer than ``ENOUGH`` examples are never judged. A map of labels can make all of them equal: where they are,
    ``as_written``, the examples with the names that stand in the file, is judged instead.
    """
    labels: list[str | None] = []
    for example in examples:
        labels.append(_throughout(example))
        yield example
    if _reason(labels) and (reason := _reason(list(map(_throughout, as_written())))):
        raise InputError(
            f"{path}: {reason}; get the set with its labels, or leave it out (a subset of one label is declared by "
            "`only` in its split or `where` in its reader)"
        )


def _reason(labels: list[str | None]) -> str | None:
    given = [label for label in labels if label is not None]
    return placeholder(given) if ENOUGH <= len(given) == len(labels) else None


def _throughout(example: Example) -> str | None:
    """The one label or answer of an example, "" where it has none; None where it has several, an entity or a pair."""
    match example:
        case TaggingExample():
            kinds = {*example.tags}
            if any(tag.startswith(("B-", "I-")) for tag in kinds):
                return None
        case ClassificationExample():
            kinds = {example.label}
        case MultilabelExample():
            kinds = {", ".join(example.labels)}
        case ChoiceExample():
            kinds = {str(example.answer)}
        case SpanExample():
            kinds = {text for text, _ in example.answers} or {""}
        case RetrievalExample() | TextExample():
            return None
    return kinds.pop() if len(kinds) == 1 else None
