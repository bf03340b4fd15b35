"""The examples that reading a task yields, one kind per format. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TaggingExample:
    """One sentence. ``tags`` are IOB2 over the task's labels (``O``, ``B-X``, ``I-X``), or labels in a plain scheme."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class ClassificationExample:
    """One text, or a pair of texts, with its label."""

    id: str
    text: str
    label: str
    pair: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class MultilabelExample:
    """One text, or a pair of texts, with any number of labels, none among them, in the order of the task's."""

    id: str
    text: str
    labels: tuple[str, ...]
    pair: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """A text, maybe a question about it, and two or more options; ``answer`` counts from 0."""

    id: str
    text: str
    options: tuple[str, ...]
    answer: int
    question: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class SpanExample:
    """A question and the text that answers it. ``answers``: (text, where it begins in ``context``, in characters).

    No answers: the text does not answer the question.
    """

    id: str
    context: str
    question: str
    answers: tuple[tuple[str, int], ...]
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class RetrievalExample:
    """One sentence of a language ("left") or of English ("right"); ``answer`` is the id of its translation there."""

    id: str
    text: str
    side: Literal["left", "right"]
    answer: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class TextExample:
    """Text without any label."""

    id: str
    text: str
    cluster: str | None = None


Example = (
    TaggingExample
    | ClassificationExample
    | MultilabelExample
    | ChoiceExample
    | SpanExample
    | RetrievalExample
    | TextExample
)


def texts_of(example: Example) -> list[str]:
    """The plain texts of an example of any format, as text of its language without labels; none is empty.

    Of a pair of translations the language's own side; the words of tagged sentences are put together again.
    """
    match example:
        case TaggingExample():
            found = [running(example.words)]
        case ClassificationExample() | MultilabelExample():
            found = [example.text, example.pair or ""]
        case ChoiceExample():
            found = [example.text, " ".join([example.question or "", *example.options]).strip()]
        case SpanExample():
            found = [example.context, example.question]
        case RetrievalExample():
            found = [example.text] if example.side == "left" else []
        case TextExample():
            found = [example.text]
    return [text for text in found if text.strip()]


UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""A letter of a script that is written without blanks: Thai, Lao, Burmese, Khmer, kana, Han."""
_OPENING, _CLOSING = re.compile(r"[(\[{¿¡「『（《]+"), re.compile(r"[)\]}.,;:!?…%、。，！？：；」』）》।؟،]+")
_ELIDED = re.compile(r"([cdjlmnst]|\w*(qu|ll|d))['’]", re.IGNORECASE)
_CLITIC = re.compile(r"['’](s|d|m|t|ll|re|ve)|n['’]t", re.IGNORECASE)


def running(words: Sequence[str]) -> str:
    """Words as running text: blanks between them, but not where the usual rules of writing have none.

    None inside brackets and before punctuation, after an elided article (``l'``), before ``'s`` and ``n't``, between
    letters of scripts without blanks. Quotation marks keep their blanks: which side they close depends on the language.
    """
    text = ""
    for word in words:
        last = text[text.rfind(" ") + 1 :]
        joined = (
            not text
            or _OPENING.fullmatch(last)
            or _CLOSING.fullmatch(word)
            or _ELIDED.fullmatch(last)
            or _CLITIC.fullmatch(word)
            or (UNSPACED.match(text[-1]) and UNSPACED.match(word))
        )
        text += word if joined else f" {word}"
    return text
