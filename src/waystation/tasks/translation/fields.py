"""The texts of an example that are translated, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    RetrievalExample,
    SpanExample,
    TaggingExample,
    TextExample,
    running,
)


@dataclass(frozen=True, slots=True)
class Said:
    """A translated text. ``start``: where an answer begins in the translated passage, if the translator says so."""

    text: str
    start: int | None = None


Translated = Mapping[str, Said]
"""Field → its translation; a field without one is not there."""


def fields(example: Example) -> dict[str, str]:
    """The texts of an example by field, none empty: ``text``, ``pair``, ``question``, ``context``, ``options.0``, …,
    ``answers.0``, …; the words of a tagged sentence are one running ``text``."""
    found: dict[str, str | None]
    match example:
        case TaggingExample():
            found = {"text": running(example.words)}
        case ClassificationExample() | MultilabelExample():
            found = {"text": example.text, "pair": example.pair}
        case ChoiceExample():
            found = {"text": example.text, "question": example.question, **_listed("options", example.options)}
        case SpanExample():
            answers = tuple(text for text, _ in example.answers)
            found = {"context": example.context, "question": example.question, **_listed("answers", answers)}
        case RetrievalExample() | TextExample():
            found = {"text": example.text}
    return {name: text for name, text in found.items() if text and text.strip()}


def _listed(name: str, texts: tuple[str, ...]) -> dict[str, str | None]:
    return {f"{name}.{number}": text for number, text in enumerate(texts)}
