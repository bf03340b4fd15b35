"""Where a task's files are, what they hold, and the examples in them, one after the other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from waystation.errors import InputError, ManyProblems, suggest
from waystation.records import digest, file_sha256, identity
from waystation.tasks import parallel, readers
from waystation.tasks.examples import ClassificationExample, Example, RetrievalExample, SpanExample
from waystation.tasks.rows import Tally
from waystation.tasks.tags import BadRow, Names, relabel
from waystation.tasks.task import Files, Reader, Split, Task


def folder(task: Task, data: Path | None) -> Path:
    """The folder of a local task: its own ``path`` where it has one, else ``DIR/<task-id>``, else an alias folder.

    DIR is ``data``, else ``$WAYSTATION_DATA``.
    """
    root = data if data is not None else _from_environment()
    tried = [] if task.path is None else [Path(task.path)]
    tried += [] if root is None else [root / name for name in (task.id, *task.folders)]
    for place in tried:
        if place.is_dir():
            return place
        if place.exists():
            raise InputError(f"task '{task.id}': {place} is a file: give the folder, and name files under splits")
    expected = [name for part in task.splits.values() for names in part.paths().values() for name in names]
    shown = ", ".join(dict.fromkeys(expected[:3])) + (f" and {len(expected) - 3} more" if len(expected) > 3 else "")
    if not tried:
        raise InputError(
            f"task '{task.id}' needs files and no data folder is given: put {shown} into DIR/{task.id}/ "
            f"and say --data DIR or set $WAYSTATION_DATA"
        )
    places = " or ".join(str(place) for place in tried)
    raise InputError(
        f"task '{task.id}': no folder {places}: put {shown} there, or say --data DIR (or $WAYSTATION_DATA)"
    )


def _from_environment() -> Path | None:
    value = os.environ.get("WAYSTATION_DATA", "")
    return Path(value) if value else None


def files(task: Task, split: Split, language: str, data: Path | None) -> list[Path]:
    """The files of one split and language, in reading order; none for the built-in corpus."""
    part = _part(task, split, language)
    if task.source == "mini":
        return []
    home = folder(task, data)
    found = [home / name for name in part.paths()[language]]
    for path in found:
        if not path.is_file():
            raise InputError(
                f"task '{task.id}', {split} {language}: no file {path}: put it there under this name, "
                f"or give another folder with --data DIR"
            )
    return found


def _part(task: Task, split: Split, language: str) -> Files:
    if split not in task.splits:
        raise InputError(f"task '{task.id}' has no split '{split}': it has {', '.join(task.splits)}")
    known = task.languages(split)
    if language not in known:
        raise InputError(
            f"task '{task.id}', {split}: no language '{language}'{suggest(language, known)}: it has {', '.join(known)}"
        )
    return task.splits[split]


def reader(task: Task, split: Split, language: str) -> Reader:
    """The reader in force for one split and language."""
    own = task.splits[split].readers.get(language, task.reader)
    if own is None:
        raise InputError(f"task '{task.id}': no reader for {split} {language}: add `reader` to the task")
    return own


def fingerprint(task: Task, split: Split, language: str, data: Path | None) -> str:
    """What one split and language of a task is: its declaration and the content of its files, wherever they lie."""
    paths = files(task, split, language, data)
    facts: dict[str, Any] = {
        "id": task.id,
        "format": task.format,
        "labels": task.labels,
        "rename": task.rename,
        "source": task.source,
        "split": split,
        "language": language,
    }
    if task.source == "mini":
        from waystation.tasks import mini

        return digest({**facts, "mini": mini.version()})
    used = identity(reader(task, split, language))
    return digest({**facts, "reader": used, "readers": readers.VERSION, "files": [_content(path) for path in paths]})


def _content(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None


def read(
    task: Task,
    split: Split,
    language: str,
    data: Path | None,
    rename: Mapping[str, str | None] | None = None,
    labels: Sequence[str] | None = None,
) -> Iterator[Example]:
    """Yield the examples of one split and language; ids are unique within these.

    ``rename`` and ``labels`` serve a task under the labels of another: the task's own labels are mapped once more, by
    name, null leaves out; a label that ``rename`` does not name must be one of ``labels``.
    """
    return _read(task, split, language, data, _names(task, rename, labels), Tally())


def _names(task: Task, rename: Mapping[str, str | None] | None, labels: Sequence[str] | None) -> Names:
    if not rename and labels is None:
        return Names(task.labels, task.rename)
    targets = task.labels if labels is None else tuple(labels)
    for old, new in (rename or {}).items():
        if old not in task.labels:
            near = suggest(old, task.labels)
            raise InputError(f"rename: '{old}' is no label of task '{task.id}'{near}: {', '.join(task.labels)}")
        if new is not None and new not in targets:
            near = suggest(new, targets)
            raise InputError(f"rename maps '{old}' to '{new}', which is no label here{near}: {', '.join(targets)}")
    return Names(task.labels, task.rename, Names(targets, dict(rename or {})))


def _read(task: Task, split: Split, language: str, data: Path | None, names: Names, tally: Tally) -> Iterator[Example]:
    paths = files(task, split, language, data)  # here, so that a wrong split, language or file is told at the call
    if task.source == "mini":
        return _mini(task, split, language, names)
    used = reader(task, split, language)
    prefix = f"{split}/{language}/"
    if task.format == "retrieval":
        return parallel.read(paths, used, language, prefix, tally)
    return (
        example
        for path in paths
        for example in readers.read_file(path, used, task.format, names, prefix=prefix, tally=tally)
    )


def _mini(task: Task, split: Split, language: str, names: Names) -> Iterator[Example]:
    from waystation.tasks import mini

    for example in mini.read(task.id, split, language):
        try:
            yield replace(example, tags=relabel(example.tags, names))
        except BadRow as problem:
            raise InputError(f"task '{task.id}', {example.id}: {problem}") from None


def check(task: Task, data: Path | None) -> list[dict[str, Any]]:
    """Read every split and language of a task; count examples, words and labels, and what the readers repaired.

    A row per split and language: ``split``, ``language``, ``examples``, ``words``, ``labels`` (entities, or examples,
    or words of a plain tag, or answers), ``clusters`` (None where sentences are taken as independent), ``sample``,
    ``stray``, ``notes`` and ``files``. All unreadable files are told at once.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for split in task.splits:
        for language in task.languages(split):
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
    for example in _read(task, split, language, data, _names(task, None, None), tally):
        examples += 1
        clusters.add(example.cluster)
        if isinstance(example, ClassificationExample):
            words += len(example.text.split()) + len((example.pair or "").split())
            labels[example.label] += 1
            continue
        if isinstance(example, RetrievalExample):
            words += len(example.text.split())
            continue
        if isinstance(example, SpanExample):
            words += len(example.context.split()) + len(example.question.split())
            labels["answers"] += len(example.answers)
            continue
        words += len(example.words)
        for tag in example.tags:
            if tag.startswith("B-"):
                labels[tag[2:]] += 1
            elif tag in labels:  # a plain tag; "O" and "I-X" are no labels
                labels[tag] += 1
    return {
        "split": split,
        "language": language,
        "examples": examples,
        "words": words,
        "labels": dict(labels),
        "clusters": len(clusters) if clusters != {None} else None,
        "sample": task.splits[split].sample,
        "stray": tally.notes["stray"],
        "notes": {name: count for name, count in sorted(tally.notes.items()) if name != "stray" and count},
        "files": [str(path) for path in files(task, split, language, data)],
    }
