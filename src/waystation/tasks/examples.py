"""The examples that reading a task yields, one kind per format. Torch-free."""

from __future__ import annotations

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


Example = TaggingExample | ClassificationExample | MultilabelExample | ChoiceExample | SpanExample | RetrievalExample
