"""The task record, and the examples that reading a task yields. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from waystation.records import EXECUTION, IDENTITY, Record

Split = Literal["train", "validation", "test"]
FormatName = Literal["tagging", "classification", "span", "retrieval"]
UNLABELLED = ("span", "retrieval")
"""Formats whose tasks have no labels."""


def usual_metrics(format: str, plain: bool = False, mined: bool = False) -> tuple[str, ...]:
    """Metrics of a task that names none, the main one first.

    ``plain`` tags hold no entities; ``mined`` pairs are found among sentences most of which have no translation.
    """
    match format:
        case "tagging":
            return ("token_accuracy",) if plain else ("entity_f1", "token_accuracy")
        case "span":
            return ("answer_f1", "exact_match")
        case "retrieval":
            return ("mining_f1",) if mined else ("retrieval_accuracy",)
        case _:
            return ("accuracy", "macro_f1")


class Reader(Record):
    """How a file is read. ``kind`` names a function of ``tasks/readers.py``; unused fields stay at their defaults.

    ``conll``: one token per line; ``separator`` (None: any run of blanks), ``token`` and ``tag`` are column numbers
    (negative from the end); ``scheme`` is how entities are marked; ``-DOCSTART-`` lines begin a new cluster.
    ``table`` (TSV, CSV): ``separator`` (None: a tab), ``quoting`` (False: quotes are plain characters), ``header``
    (False: columns are named "0", "1", ...). ``jsonl``: one object per line. ``documents``: JSONL of whole documents
    with ``text``, ``sentences`` as [begin, end] and ``entities`` as {begin, end, label}: tokenised, one cluster each;
    ``id`` and ``label`` name the fields of the document's id (None: doc_id) and of an entity's type (None: label).
    ``squad``: SQuAD's JSON; ``id`` names a question's id (None: questions are numbered), ``cluster`` is "title" for
    the article or "context" for the passage (None: the passage).
    ``parallel``: two line-aligned files; ``tmx``: one file of translation units, ``cluster`` the type of a ``prop`` of
    theirs; ``mining``: two files of id, tab, sentence and one of gold pairs of ids.
    For ``table`` and ``jsonl``: ``text`` is one column or several joined by a blank, ``pair`` the second text,
    ``label`` the label column, ``id`` and ``cluster`` optional columns; for tagging in ``jsonl``, ``token`` and ``tag``
    name columns that hold lists.
    """

    kind: Annotated[Literal["conll", "table", "jsonl", "documents", "squad", "parallel", "tmx", "mining"], IDENTITY]
    separator: Annotated[str | None, IDENTITY] = Field(default=None, min_length=1)
    scheme: Annotated[Literal["iob2", "iob1", "io", "plain"], IDENTITY] = "iob2"
    token: Annotated[int | str, IDENTITY] = 0
    tag: Annotated[int | str, IDENTITY] = -1
    header: Annotated[bool, IDENTITY] = True
    quoting: Annotated[bool, IDENTITY] = True
    text: Annotated[str | tuple[str, ...] | None, IDENTITY] = None
    pair: Annotated[str | None, IDENTITY] = None
    label: Annotated[str | None, IDENTITY] = None
    id: Annotated[str | None, IDENTITY] = None
    cluster: Annotated[str | None, IDENTITY] = None


class Files(Record):
    """The files of one split: ``{lang}`` in a pattern stands for each language of ``languages``.

    ``languages`` maps our code to the spelling in the file name; ``files`` names single languages outright. Several
    files (or patterns) are read one after the other, or together where the reader takes several: the language's own
    side first, then the English one. ``readers`` replaces the task's reader for the languages that need another.
    """

    pattern: Annotated[str | tuple[str, ...] | None, IDENTITY] = None
    languages: Annotated[dict[str, str], IDENTITY] = Field(default_factory=dict)
    files: Annotated[dict[str, tuple[str, ...]], IDENTITY] = Field(default_factory=dict)
    readers: Annotated[dict[str, Reader], IDENTITY] = Field(default_factory=dict)
    sample: Annotated[bool, IDENTITY] = False

    def paths(self) -> dict[str, tuple[str, ...]]:
        """Language → relative file names, in the order of declaration."""
        patterns = (self.pattern,) if isinstance(self.pattern, str) else self.pattern
        found = (
            {}
            if patterns is None
            else {code: tuple(one.replace("{lang}", name) for one in patterns) for code, name in self.languages.items()}
        )
        return found | self.files


class Task(Record):
    """One task of the catalog, or a user's own table in a study file."""

    id: Annotated[str, IDENTITY] = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: Annotated[str, EXECUTION]
    format: Annotated[FormatName, IDENTITY]
    domain: Annotated[str, EXECUTION] = "general"
    labels: Annotated[tuple[str, ...], IDENTITY] = ()
    rename: Annotated[dict[str, str | None], IDENTITY] = Field(default_factory=dict)
    metrics: Annotated[tuple[str, ...], EXECUTION] = Field(min_length=1)
    source: Annotated[Literal["local", "mini"], IDENTITY] = "local"
    folders: Annotated[tuple[str, ...], EXECUTION] = ()
    path: Annotated[str | None, EXECUTION] = None
    reader: Annotated[Reader | None, IDENTITY] = None
    splits: Annotated[dict[Split, Files], IDENTITY]
    cluster: Annotated[str | None, EXECUTION] = None
    parallel: Annotated[bool, EXECUTION] = False
    same_source: Annotated[tuple[str, ...], EXECUTION] = ()
    sensitive: Annotated[bool, EXECUTION] = False
    revision: Annotated[str | None, EXECUTION] = None
    licence: Annotated[str, EXECUTION] = "unknown"
    citation: Annotated[str, EXECUTION] = ""
    url: Annotated[str | None, EXECUTION] = None
    verified: Annotated[Literal["files", "schema", "never"], EXECUTION] = "never"
    notes: Annotated[str, EXECUTION] = ""

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.format in UNLABELLED:
            if self.labels or self.rename:
                raise ValueError(f"{self.format} has no labels: leave labels and rename out")
        elif not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be a non-empty list without repeats")
        if any(not label.strip() for label in self.labels) or (self.format == "tagging" and "O" in self.labels):
            raise ValueError("labels must be names; O, the outside of entities, is not one of them")
        if self.source == "local" and self.reader is None:
            raise ValueError("a local task needs a reader")
        for old, new in self.rename.items():
            if new is not None and new not in self.labels:
                raise ValueError(f"rename maps '{old}' to '{new}', which is not among the labels")
        return self

    def languages(self, split: Split) -> tuple[str, ...]:
        """Languages that a split has."""
        return tuple(self.splits[split].paths()) if split in self.splits else ()


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
class SpanExample:
    """A question and the text that answers it. ``answers``: (text, where it begins in ``context``, in characters)."""

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


Example = TaggingExample | ClassificationExample | SpanExample | RetrievalExample
