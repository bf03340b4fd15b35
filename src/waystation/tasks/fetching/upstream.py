"""Whole sets from where they are published: fetched when asked for, checked against the lock file at every load."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

from waystation import places
from waystation.backbones import offline
from waystation.errors import InputError, WaystationError
from waystation.records import digest
from waystation.tasks.fetching import archives, hub, lock
from waystation.tasks.fetching.download import download
from waystation.tasks.fetching.lock import Entry
from waystation.tasks.task import Files, Reader, Split, Task, Upstream

FOLDERS = ("brat", "xmi")
"""Readers that take a folder for a file."""
GITHUB = "https://raw.githubusercontent.com"


class Fetched(NamedTuple):
    """The files of one split and language. ``words`` say where they are from, ``home`` is the folder of all files."""

    paths: tuple[Path, ...]
    home: Path
    words: str


def splits(task: Task) -> dict[Split, Files]:
    """What a task has upstream: its own splits where the record says nothing else."""
    return {} if task.upstream is None else (task.upstream.splits or task.splits)


def usual(task: Task) -> Reader | None:
    """The reader of a task's files upstream, but for languages that need another."""
    return (task.upstream and task.upstream.reader) or task.reader


def reader(task: Task, part: Files, language: str) -> Reader | None:
    """The reader in force upstream."""
    return part.readers.get(language) or usual(task)


def load(task: Task, split: Split, language: str) -> Fetched | None:
    """What was fetched of one split and language; None where it was not.

    Raises InputError where files are gone or hold something else than the lock says, or where lock and record differ.
    """
    entry, part = locked(task), splits(task).get(split)
    if entry is None or task.upstream is None or part is None or language not in part.paths():
        return None
    own = part.paths()[language]
    names = [*own, *_extras(task, part)]
    if any(name not in entry.names for name in names):
        return None
    home = _home(task, entry)
    wrong = lock.mismatch(home, (path for name in names for path in entry.names[name]), entry.files)
    if wrong:
        raise InputError(f"task '{task.id}', {split} {language}: {wrong}: `waystation data get {task.id}` again")
    used = reader(task, part, language)
    found: list[Path] = []
    for name in own:
        if used is not None and used.kind in FOLDERS:
            found.append(home / _under(task.upstream, name))
        else:
            found += [home / path for path in entry.names[name]]
    return Fetched(tuple(found), home / task.upstream.root, f"{entry.source}@{entry.revision[:12]}")


def locked(task: Task) -> Entry | None:
    """The lock's entry of a task, else what the cache holds at the revision that the record declares."""
    if task.upstream is None:
        return None
    entry = lock.read(places.lock_file()).get(task.id)
    if entry is None:
        entry = _cached(task)
        return entry if entry is not None and entry.revision == _declared(task.upstream) else None
    of_record = (task.upstream.kind, _source(task.upstream), _declared(task.upstream) or entry.revision)
    if of_record != (entry.kind, entry.source, entry.revision):
        raise InputError(
            f"{places.lock_file()}: task '{task.id}' is locked to {entry.kind} {entry.source}@{entry.revision}, its "
            f"record says {of_record[0]} {of_record[1]}@{of_record[2]}: delete the entry and fetch it again"
        )
    return entry


def get(task: Task) -> tuple[Entry, bool]:
    """Fetch all that a task has upstream, write the lock file; returns its entry and whether anything was fetched.

    What is there already and is what the lock says is not fetched again, and the network is not touched.
    Raises WaystationError where that fails, InputError where the record names what upstream does not have, where the
    files differ from those of the lock, and for what offline mode forbids.
    """
    if task.upstream is None:
        how = task.manual or "put its files into the data folder"
        raise InputError(f"task '{task.id}' is not to be had from the network: {how}")
    known = locked(task)
    entry = known if known is not None else (_cached(task) if offline() else None)
    wanted = list(dict.fromkeys(name for part in splits(task).values() for name in _names(task, part)))
    whole = entry is not None and set(wanted) <= set(entry.names)
    wrong = entry and lock.mismatch(_home(task, entry), entry.files, entry.files)
    if entry is not None and whole and not wrong:
        lock.write(places.lock_file(), task.id, entry)
        return entry, False
    if offline():
        why = wrong or "fetch it once with the network on"
        raise InputError(f"task '{task.id}' is not in the cache and offline mode is on: {why}")
    fresh = _KINDS[task.upstream.kind](task, task.upstream, wanted, known)
    both = {} if known is None else {path: known.files[path] for path in known.files if path in fresh.files}
    if wrong := lock.mismatch(_home(task, fresh), both, both):
        raise InputError(f"task '{task.id}': upstream no longer has what is locked: {wrong}")
    lock.write(_cache(task) / "entry.json", task.id, fresh)
    lock.write(places.lock_file(), task.id, fresh)
    return fresh, True


def _names(task: Task, part: Files) -> Iterator[str]:
    for names in part.paths().values():
        yield from names
    yield from _extras(task, part)


def _extras(task: Task, part: Files) -> list[str]:
    """Names of what a split needs beside its own files."""
    named = [part.only, part.without]
    for language, names in part.paths().items():
        used = reader(task, part, language)
        if used is not None and used.premises is not None:
            named += [(PurePosixPath(name).parent / used.premises).as_posix() for name in names]
    return list(dict.fromkeys(name for name in named if name is not None))


def _source(upstream: Upstream) -> str:
    return upstream.repo or " ".join(upstream.urls)


def _declared(upstream: Upstream) -> str | None:
    return upstream.revision or upstream.sha256


def _cache(task: Task) -> Path:
    return places.cache_folder() / "data" / task.id


def _cached(task: Task) -> Entry | None:
    """What the cache holds of a task, if it comes from where the record says."""
    entry, upstream = lock.read(_cache(task) / "entry.json").get(task.id), task.upstream
    if entry is None or upstream is None or (entry.kind, entry.source) != (upstream.kind, _source(upstream)):
        return None
    return entry


def _home(task: Task, entry: Entry) -> Path:
    """The folder that the paths of an entry lie in."""
    if entry.kind.startswith("hub"):
        return hub.snapshot(entry.source, entry.revision)
    return _cache(task) / entry.revision[:16]


def _under(upstream: Upstream, name: str) -> str:
    return f"{upstream.root.strip('/')}/{name}" if upstream.root.strip("/") else name


def _entry(task: Task, upstream: Upstream, revision: str, names: dict[str, tuple[str, ...]]) -> Entry:
    """The entry of files that lie in their place."""
    bare = Entry(kind=upstream.kind, source=_source(upstream), revision=revision, files={}, names={})
    home = _home(task, bare)
    files = {path: lock.content(home / path) for paths in names.values() for path in paths}
    return Entry(kind=upstream.kind, source=bare.source, revision=revision, files=files, names=names)


def _from_hub(task: Task, upstream: Upstream, wanted: list[str], known: Entry | None) -> Entry:
    repo = _source(upstream)
    asked = known.revision if known else upstream.revision
    commit, files = hub.listing(repo, asked or (hub.CONVERTED if upstream.kind == "hub_parquet_branch" else None))
    card = None
    if upstream.kind == "hub" and "README.md" in files:
        card = hub.fetch(repo, commit, "README.md").read_text("utf-8", errors="replace")
    parts = {name for part in splits(task).values() for names in part.paths().values() for name in names}
    names: dict[str, tuple[str, ...]] = {}
    for name in wanted:
        if upstream.kind == "hub_files" or name not in parts:
            names[name] = hub.named(_under(upstream, name), files, repo)
        elif upstream.kind == "hub":
            names[name] = hub.configured(name, files, card, repo)
        else:
            names[name] = hub.converted(name, files, repo)
    home, locks = hub.snapshot(repo, commit), known.files if known else {}
    for path in dict.fromkeys(path for paths in names.values() for path in paths):
        spoilt = path in locks and (home / path).is_file() and lock.mismatch(home, [path], locks)
        hub.fetch(repo, commit, path, again=bool(spoilt))
    return _entry(task, upstream, commit, names)


def _from_github(task: Task, upstream: Upstream, wanted: list[str], known: Entry | None) -> Entry:
    commit = upstream.revision or ""
    home = _cache(task) / commit[:16]
    locks = known.files if known else {}
    names: dict[str, tuple[str, ...]] = {}
    for name in wanted:
        path = _under(upstream, name)
        if not (home / path).is_file() or (path in locks and lock.mismatch(home, [path], locks)):
            raw(_source(upstream), commit, path, home / path)
        names[name] = (path,)
    return _entry(task, upstream, commit, names)


def raw(repo: str, commit: str, path: str, place: Path) -> None:
    """Fetch one file of a GitHub repository at a commit."""
    url = f"{GITHUB}/{repo}/{commit}/{quote(path)}"
    download(url, place)
    with place.open("rb") as file:
        pointer = file.read(40).startswith(b"version https://git-lfs")
    if pointer:
        place.unlink()
        raise WaystationError(f"{url}: the repository holds only a pointer to Git LFS there: fetch the file by hand")


def _from_archive(task: Task, upstream: Upstream, wanted: list[str], known: Entry | None) -> Entry:
    packed = {}
    for url in upstream.urls:
        packed[url] = _cache(task) / (Path(url.partition("?")[0]).name or "archive")
        download(url, packed[url], upstream.sha256)
    contents = [lock.content(place).sha256 for place in packed.values()]
    found = contents[0] if len(contents) == 1 else digest(contents)
    if known is not None and found != known.revision:
        for place in packed.values():
            place.unlink()
        raise InputError(f"task '{task.id}': {_source(upstream)} has SHA-256 {found}, locked is {known.revision}")
    home = _cache(task) / found[:16]
    begun = home.with_name(f"{home.name}.whole")
    for folder in (home, begun):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        for number, place in enumerate(packed.values()):
            if archives.is_archive(place):
                archives.unpack(place, begun / str(number))
                shutil.copytree(begun / str(number), begun / "all", dirs_exist_ok=True, copy_function=shutil.move)
            else:
                (begun / "all").mkdir(parents=True, exist_ok=True)
                shutil.copyfile(place, begun / "all" / place.name)
        (begun / "all").rename(home)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    for place in packed.values():
        place.unlink()
    inside = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    names = {one: hub.named(_under(upstream, one), inside, _source(upstream)) for one in wanted}
    return _entry(task, upstream, found, names)


_KINDS = {
    "hub": _from_hub,
    "hub_parquet_branch": _from_hub,
    "hub_files": _from_hub,
    "github": _from_github,
    "archive": _from_archive,
}
