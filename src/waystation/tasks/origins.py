"""Where the files of one split and language are: in the data folder, else fetched from upstream before."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from waystation.errors import InputError, suggest
from waystation.records import file_sha256
from waystation.tasks.fetching import lock, pieces, upstream
from waystation.tasks.reading import readers
from waystation.tasks.task import Files, Reader, Split, Task


@dataclass(frozen=True)
class Origin:
    """Where the examples of one split and language are read from: files, in order, and the reader for them.

    ``home`` is the folder in which the names of ``part`` are found. ``words`` say for people where the files are from;
    ``fetched``: from upstream, and found to be what the lock says.
    """

    part: Files
    reader: Reader
    paths: tuple[Path, ...]
    home: Path
    words: str
    fetched: bool

    def extras(self) -> dict[str, Path]:
        """The files of ids that narrow the split down, by the field that names them."""
        named = {"only": self.part.only, "without": self.part.without}
        return {field: self.home / name for field, name in named.items() if name is not None}

    def contents(self) -> list[str]:
        """SHA-256 of every file that the examples depend on, in order."""
        return [_content(file, self.fetched) for file in (*self._inputs(), *self.extras().values())]

    def sample(self) -> bool:
        """Whether the files are less than the official ones: declared so, or of the content of a declared piece."""
        known = (pieces.is_piece(lock.content(file).sha256) for file in self._inputs())
        return self.part.sample or (not self.fetched and any(known))

    def _inputs(self) -> list[Path]:
        return [file for path in self.paths for file in readers.inputs(path, self.reader)]


def folder(task: Task, data: Path | None) -> Path:
    """The folder of a local task: its own ``path`` where it has one, else ``DIR/<task-id>``, else an alias folder.

    DIR is ``data``, else ``$WAYSTATION_DATA``.
    """
    tried = _places(task, data)
    for place in tried:
        if place.is_dir():
            return place
        if place.exists():
            raise InputError(f"task '{task.id}': {place} is a file: give the folder, and name files under splits")
    expected = [name for part in task.splits.values() for names in part.paths().values() for name in names]
    shown = ", ".join(dict.fromkeys(expected[:3])) + (f" and {len(expected) - 3} more" if len(expected) > 3 else "")
    how = f": {' '.join(task.manual.split())}" if task.manual else ""
    if not tried:
        raise InputError(
            f"task '{task.id}' needs files and no data folder is given: put {shown} into DIR/{task.id}/ "
            f"and say --data DIR or set $WAYSTATION_DATA{how}"
        )
    places = " or ".join(str(place) for place in tried)
    raise InputError(
        f"task '{task.id}': no folder {places}: put {shown} there, or say --data DIR (or $WAYSTATION_DATA){how}"
    )


def _places(task: Task, data: Path | None) -> list[Path]:
    """Where the folder of a task may be, in the order in which it is looked for."""
    value = os.environ.get("WAYSTATION_DATA", "")
    root = data if data is not None else (Path(value) if value else None)
    own = [] if task.path is None else [Path(task.path)]
    return own + ([] if root is None else [root / name for name in (task.id, *task.folders)])


def origin(task: Task, split: Split, language: str, data: Path | None) -> Origin:
    """Where one split and language of a task of files is read from; InputError where it is not at hand."""
    exists(task, split, language)
    wrong: InputError | None = None
    if split in task.splits and language in task.splits[split].paths():
        try:
            return _local(task, split, language, data)
        except InputError as problem:
            wrong = problem
    fetched = upstream.load(task, split, language)
    if fetched is not None:
        _apart(task, split, data)
        part = upstream.splits(task)[split]
        used = _reader(task, upstream.reader(task, part, language), part, split, language)
        return Origin(part, used, fetched.paths, fetched.home, fetched.words, True)
    if wrong is None:
        raise InputError(f"task '{task.id}', {split} {language}: not here: `waystation data get {task.id}` fetches it")
    if language in _upstream_languages(task, split):
        raise InputError(f"{wrong}; or `waystation data get {task.id}` fetches the whole set")
    raise wrong


def _apart(task: Task, split: Split, data: Path | None) -> None:
    """Refuse to read a whole split beside files of the data folder that are a piece of it under another name."""
    for other, part in task.splits.items():
        if other == split or part.stands_for != split:
            continue
        names = [name for files in part.paths().values() for name in files]
        pieces = [place / name for place in _places(task, data) for name in names if (place / name).exists()]
        if pieces:
            raise InputError(
                f"task '{task.id}': {pieces[0]}, which is read as {other}, is a piece of the official {split} split, "
                f"which was fetched: move it away, and {other} is what was fetched too"
            )


def _upstream_languages(task: Task, split: Split) -> Collection[str]:
    parts = upstream.splits(task)
    return parts[split].paths() if split in parts else ()


def _local(task: Task, split: Split, language: str, data: Path | None) -> Origin:
    """The files in the data folder; InputError where one is not there."""
    part, home = task.splits[split], folder(task, data)
    used = _reader(task, part.readers.get(language) or task.reader or upstream.usual(task), part, split, language)
    paths = tuple(home / name for name in part.paths()[language])
    found = Origin(part, used, paths, home, "files in the data folder", False)
    for path in (*paths, *found.extras().values()):
        if not (path.is_dir() if path in paths and used.kind in upstream.FOLDERS else path.is_file()):
            raise InputError(
                f"task '{task.id}', {split} {language}: no file {path}: put it there under this name, "
                f"or give another folder with --data DIR"
            )
    return found


def exists(task: Task, split: Split, language: str) -> None:
    """Raise InputError where a task has no such split, or it not that language."""
    if split not in task.all_splits():
        raise InputError(f"task '{task.id}' has no split '{split}': it has {', '.join(task.all_splits())}")
    have = task.languages(split)
    if language not in have:
        raise InputError(
            f"task '{task.id}', {split}: no language '{language}'{suggest(language, have)}: it has {', '.join(have)}"
        )


def _reader(task: Task, own: Reader | None, part: Files, split: Split, language: str) -> Reader:
    """The reader in force, with the language put in where its ``where`` asks for it."""
    if own is None:
        raise InputError(f"task '{task.id}': no reader for {split} {language}: add `reader` to the task")
    spelt = part.languages.get(language, language)
    filled: dict[str, str | tuple[str, ...]] = {}
    for field, values in own.where.items():
        several = (values,) if isinstance(values, str) else values
        filled[field] = tuple(value.replace("{lang}", spelt) for value in several)
    return own.model_copy(update={"where": filled}) if filled else own


def _content(path: Path, fetched: bool) -> str:
    try:
        return lock.content(path).sha256 if fetched else file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check its permissions") from None
