"""The lock file: which revision of each task was fetched and what its files hold, so that later runs read the same.

``waystation data get`` writes it; every load from upstream is checked against it. It is JSON, made to be committed
beside a study.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from waystation import places
from waystation.errors import InputError
from waystation.records import EXECUTION, Record, digest, file_sha256

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Content(Record):
    """What a file holds."""

    sha256: Annotated[Sha256, EXECUTION]
    bytes: Annotated[int, EXECUTION] = Field(ge=0)


class Entry(Record):
    """One task as it was fetched. ``source``: a repository or URL; ``revision``: a commit, or an archive's SHA-256.

    ``files`` are paths in the repository or archive; ``names`` says which of them a name of the record means: a file,
    those of a folder, or those of a "config/split".
    """

    kind: Annotated[str, EXECUTION]
    source: Annotated[str, EXECUTION]
    revision: Annotated[str, EXECUTION] = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    files: Annotated[dict[str, Content], EXECUTION]
    names: Annotated[dict[str, tuple[str, ...]], EXECUTION]

    @model_validator(mode="after")
    def _complete(self) -> Entry:
        for path in (*self.files, *(path for paths in self.names.values() for path in paths)):
            if path not in self.files or path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"'{path}' is not among its files, or leads out of their folder")
        return self


def read(path: Path) -> dict[str, Entry]:
    """The entries of a lock file by task; none where there is no file."""
    if not path.exists():
        return {}
    remedy = "correct it, or delete the entry and run `waystation data get`"
    try:
        content = json.loads(path.read_text("utf-8"))
        return {name: Entry.model_validate(entry) for name, entry in content.items()}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}: {remedy}") from None
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a lock file ({' '.join(str(error).split())[:100]}): {remedy}") from None


def write(path: Path, task_id: str, entry: Entry) -> None:
    """Set one entry, leave the others; the file is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        entries = {**read(path), task_id: entry}
        content = {name: entries[name].model_dump(mode="json") for name in sorted(entries)}
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
        partial.replace(path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other process changes the file; where the system has no file locks, without a promise."""
    if fcntl is None:
        yield
        return
    busy = places.cache_folder() / "busy" / digest(str(path.resolve()))[:16]  # left there: others may wait for it
    busy.parent.mkdir(parents=True, exist_ok=True)
    with busy.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def content(path: Path) -> Content:
    """What a file holds. It is read once in a process, unless its size or time of change differ."""
    found = path.stat()
    return _content(path, found.st_size, found.st_mtime_ns)


@cache
def _content(path: Path, size: int, changed: int) -> Content:
    return Content(sha256=file_sha256(path), bytes=size)


def mismatch(home: Path, names: Iterable[str], locked: Mapping[str, Content]) -> str | None:
    """One line on the first file in ``home`` that is gone or holds something else than the lock says, or None."""
    for name in names:
        if not (home / name).is_file():
            return f"{home / name} is gone"
        found, asked = content(home / name), locked[name]
        if found != asked:
            has = f"SHA-256 {found.sha256} ({found.bytes} bytes)"
            return f"{home / name} has {has}, locked is {asked.sha256} ({asked.bytes} bytes)"
    return None
