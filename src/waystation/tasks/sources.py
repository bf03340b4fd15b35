"""What the files of a task hold: their fingerprint, and the examples in them, one after the other.

Files in the data folder come first, then what ``waystation data get`` fetched from upstream. Nothing is fetched here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.records import digest, identity
from waystation.tasks import hidden, ids, known
from waystation.tasks.examples import ClassificationExample, Example, MultilabelExample, TaggingExample
from waystation.tasks.labels import UNSEEN, Found, names_of
from waystation.tasks.origins import Origin, exists, folder, origin
from waystation.tasks.reading import parallel, readers
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import BadRow, Names, relabel
from waystation.tasks.task import Reader, Split, Task

__all__ = ["files", "fingerprint", "folder", "opened", "origin", "read", "resolved", "sample", "stream", "words"]


def files(task: Task, split: Split, language: str, data: Path | None) -> list[Path]:
    """The files of one split and language, in reading order; none for the built-in corpus."""
    exists(task, split, language)
    if task.parts:
        return [path for part in task.parts for path in files(known.find(part), split, language, data)]
    return [] if task.source == "mini" else list(origin(task, split, language, data).paths)


def sample(task: Task, split: Split, language: str, data: Path | None) -> bool:
    """Whether what is read of one split and language is less than the official set."""
    if task.parts:
        return any(sample(known.find(part), split, language, data) for part in task.parts)
    return task.source != "mini" and origin(task, split, language, data).sample()


def at_hand(task: Task, split: Split, language: str, data: Path | None) -> bool:
    """Whether one split and language can be read now."""
    try:
        files(task, split, language, data)
    except InputError:
        return False
    return True


def stands_for(task: Task, split: Split, language: str, data: Path | None) -> Split | None:
    """The other official split that what is read is a piece of."""
    if task.source == "mini" or task.parts:
        return None
    return origin(task, split, language, data).part.stands_for


def words(task: Task, split: Split, language: str, data: Path | None) -> str:
    """Where what is read comes from, for people: a folder of the user's, a repository at a commit, an archive."""
    if task.parts:
        return "; ".join(dict.fromkeys(words(known.find(part), split, language, data) for part in task.parts))
    return "built in" if task.source == "mini" else origin(task, split, language, data).words


def fingerprint(task: Task, split: Split, language: str, data: Path | None) -> str:
    """What one split and language of a task is: its declaration and the content of its files, wherever they lie."""
    exists(task, split, language)
    facts: dict[str, Any] = {
        "id": task.id,
        "format": task.format,
        "labels": task.labels,
        "rename": task.rename,
        "source": task.source,
        "split": split,
        "language": language,
    } | ({"longest_answer": task.longest_answer} if task.format == "span" else {})
    if task.parts:
        return digest({**facts, "parts": [fingerprint(known.find(part), split, language, data) for part in task.parts]})
    if task.source == "mini":
        from waystation.tasks import mini

        return digest({**facts, "mini": mini.version(task.id)})
    found = origin(task, split, language, data)
    narrowed = {"narrowed": sorted(found.extras())} if found.extras() else {}
    used = _spelt_out(found.reader)
    return digest({**facts, **narrowed, "reader": used, "readers": readers.VERSION, "files": found.contents()})


def _spelt_out(reader: Reader) -> dict[str, Any]:
    """A reader without the fields at their defaults: a field that readers get later changes no identity."""
    usual = identity(Reader(kind=reader.kind))
    return {"kind": reader.kind} | {name: one for name, one in identity(reader).items() if one != usual[name]}


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
    name, null leaves out; a label that ``rename`` does not name must be one of ``labels``. Without both the task's own
    labels hold: so text is read where nobody asks for labels.
    """
    return stream(task, split, language, data, _names(task, rename, labels), Tally())


def _names(task: Task, rename: Mapping[str, str | None] | None, labels: Sequence[str] | None) -> Names:
    if not rename and not labels:
        return names_of(task)
    targets = task.labels if labels is None else tuple(labels)
    for old, new in (rename or {}).items():
        if old not in task.labels:
            near = suggest(old, task.labels)
            raise InputError(f"rename: '{old}' is no label of task '{task.id}'{near}: {', '.join(task.labels)}")
        if new is not None and new not in targets:
            near = suggest(new, targets)
            raise InputError(f"rename maps '{old}' to '{new}', which is no label here{near}: {', '.join(targets)}")
    return names_of(task, Names(targets, dict(rename or {})))


def stream(task: Task, split: Split, language: str, data: Path | None, names: Names, tally: Tally) -> Iterator[Example]:
    """Yield examples under the labels that ``names`` leads to. A wrong split, language or file is told at the call."""
    exists(task, split, language)
    if task.parts:
        inside = []
        for part in map(known.find, task.parts):
            own = Tally()
            inside.append((part.id, stream(part, split, language, data, names_of(part, names), own), own))
        return _together(inside, tally)
    if task.source == "mini":
        return _mini(task, split, language, names)
    found = origin(task, split, language, data)
    made = _from_files(task, split, language, found, names, tally)
    if split != "test" or _one_label_meant(task, found):
        return made
    as_written = Found((), {name: name for name in task.rename})
    again = partial(_from_files, task, split, language, found, as_written, Tally())
    return hidden.revealed(made, again, found.paths[0])


def _from_files(
    task: Task, split: Split, language: str, found: Origin, names: Names, tally: Tally
) -> Iterator[Example]:
    prefix = f"{split}/{language}/"
    made: Iterator[Example]
    if task.format == "retrieval":
        made = parallel.read(found.paths, found.reader, language, prefix, tally)
    else:
        made = (
            example
            for path in found.paths
            for example in readers.read_file(path, found.reader, task.format, names, prefix=prefix, tally=tally)
        )
    narrowed = ids.narrowed(made, **found.extras())
    return ids.counted(narrowed, _expected(found, language), tally, f"task '{task.id}', {split} {language}")


def _one_label_meant(task: Task, found: Origin) -> bool:
    """Whether all examples may have one label: the task has no other, or somebody chose them, by id or by label."""
    lone = task.format == "classification" and len(task.labels) == 1
    return lone or bool(found.extras()) or found.reader.label in found.reader.where


def _expected(found: Origin, language: str) -> int | None:
    """How many examples there must be; None where the record does not say it or the files are a piece."""
    rows = found.part.rows
    asked = rows.get(language) if isinstance(rows, dict) else rows
    return None if asked is None or found.sample() else asked


def _together(inside: Sequence[tuple[str, Iterator[Example], Tally]], tally: Tally) -> Iterator[Example]:
    """Parts one after the other; their ids and clusters are told apart by the part's id."""
    for part, examples, own in inside:
        for example in examples:
            cluster = None if example.cluster is None else f"{part}/{example.cluster}"
            yield replace(example, id=f"{part}/{example.id}", cluster=cluster)
        tally.notes.update(own.notes)


def _mini(task: Task, split: Split, language: str, names: Names) -> Iterator[Example]:
    from waystation.tasks import mini

    plain = task.reader is not None and task.reader.scheme == "plain"
    for example in mini.read(task.id, split, language):
        try:
            named = _renamed(example, names, plain)
        except BadRow as problem:
            raise InputError(f"task '{task.id}', {example.id}: {problem}") from None
        if named is not None:
            yield named


def _renamed(example: Example, names: Names, plain: bool) -> Example | None:
    """An example under the labels that ``names`` leads to; None where its label is left out."""
    match example:
        case TaggingExample():
            return replace(example, tags=relabel(example.tags, names, plain))
        case ClassificationExample():
            label = names(example.label)
            return None if label is None else replace(example, label=label)
        case MultilabelExample():
            labels = [names(label) for label in example.labels]
            return replace(example, labels=names.ordered(label for label in labels if label is not None))
    return example


def resolved(task: Task, data: Path | None) -> Task:
    """A task whose labels are open with those of its training files, in alphabetical order, and UNSEEN last."""
    if not task.open_labels or task.labels:
        return task
    names = Found((), task.rename)
    for language in task.languages("train"):
        for _ in stream(task, "train", language, data, names, Tally()):
            pass
    if not names.found:
        raise InputError(f"task '{task.id}': no training data declared, so its labels are unknown: name them")
    return task.model_copy(update={"labels": (*sorted(names.found), UNSEEN)})


def opened(tasks: Iterable[Task], data: Path | None) -> dict[str, Task]:
    """Of some tasks those whose labels had to be found, by id."""
    return {task.id: resolved(task, data) for task in tasks if task.open_labels and not task.labels}
