"""Reading all that is at hand of a task, and counting what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from waystation.errors import InputError, ManyProblems
from waystation.tasks import known, sources
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
from waystation.tasks.fetching import upstream
from waystation.tasks.labels import names_of
from waystation.tasks.reading.rows import Tally
from waystation.tasks.task import Split, Task


def at_hand(task: Task, data: Path | None) -> bool:
    """Whether there is anything of a task to read: its folder, or what was fetched of it."""
    if task.parts:
        return all(at_hand(known.find(part), data) for part in task.parts)
    return task.source == "mini" or _folder(task, data) or upstream.locked(task) is not None


def _folder(task: Task, data: Path | None) -> bool:
    try:
        sources.folder(task, data)
    except InputError:
        return False
    return bool(task.splits)


def _expected(task: Task, data: Path | None) -> Iterator[tuple[Split, str]]:
    """What must be there: the task's own files where its folder is, upstream's where these were fetched."""
    every = bool(task.parts) or task.source == "mini"
    own, fetched = every or _folder(task, data), every or upstream.locked(task) is not None
    for split in task.all_splits():
        for language in task.languages(split):
            local = split in task.splits and language in task.splits[split].paths()
            if every or (own if local else fetched) or (fetched and split in upstream.splits(task)):
                yield split, language


def check(task: Task, data: Path | None) -> list[dict[str, Any]]:
    """Read every split and language of a task; count examples, words and labels, and what the readers repaired.

    A row per split and language: ``split``, ``language``, ``examples``, ``words``, ``labels`` (entities, or examples,
    or words of a plain tag, or answers, or options), ``clusters`` (None where sentences are taken as independent),
    ``sample``, ``stray``, ``notes``, ``source`` (in words) and ``files``. All unreadable files are told at once.
    """
    if not at_hand(task, data):
        first = task.all_splits()[0]
        sources.files(task, first, task.languages(first)[0], data)  # which says what to do about it
    task = sources.resolved(task, data)
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for split, language in _expected(task, data):
        try:
            rows.append(_counted(task, split, language, data))
        except InputError as problem:
            problems.append(str(problem))
    if len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        raise ManyProblems(list(dict.fromkeys(problems)))
    return rows


def _counted(task: Task, split: Split, language: str, data: Path | None) -> dict[str, Any]:
    tally = Tally()
    examples = words = 0
    labels = Counter(dict.fromkeys(task.labels, 0))
    clusters: set[str | None] = set()
    for example in sources.stream(task, split, language, data, names_of(task), tally):
        examples += 1
        words += _words(example)
        clusters.add(example.cluster)
        labels.update(_labels(example, labels))
    return {
        "split": split,
        "language": language,
        "examples": examples,
        "words": words,
        "labels": dict(labels),
        "clusters": len(clusters) if clusters != {None} else None,
        "sample": sources.sample(task, split, language, data),
        "stray": tally.notes["stray"],
        "notes": {name: count for name, count in sorted(tally.notes.items()) if name != "stray" and count},
        "source": sources.words(task, split, language, data),
        "files": [str(path) for path in sources.files(task, split, language, data)],
    }


def texts(example: Example) -> list[str]:
    """What a model would read of an example."""
    match example:
        case TaggingExample():
            return [" ".join(example.words)]
        case SpanExample():
            return [example.context, example.question]
        case ChoiceExample():
            return [example.text, example.question or "", *example.options]
        case ClassificationExample() | MultilabelExample():
            return [example.text, example.pair or ""]
        case RetrievalExample() | TextExample():
            return [example.text]


def _words(example: Example) -> int:
    return (
        len(example.words) if isinstance(example, TaggingExample) else sum(len(text.split()) for text in texts(example))
    )


def _labels(example: Example, declared: Counter[str]) -> dict[str, int]:
    """How often each label is in an example; answers and options where there are no labels."""
    match example:
        case TaggingExample():
            begun = [tag[2:] if tag.startswith("B-") else tag for tag in example.tags]
            return Counter(tag for tag in begun if tag in declared)  # "O" and "I-X" are no labels
        case ClassificationExample():
            return {example.label: 1}
        case MultilabelExample():
            return dict.fromkeys(example.labels, 1)
        case SpanExample():
            return {"answers": len(example.answers)}
        case ChoiceExample():
            return {"options": len(example.options)}
        case RetrievalExample() | TextExample():
            return {}
