"""Pieces of official files: truncated copies that are known by their content, and how to make them again.

``catalog/pieces.csv`` declares them: where they lie in a data folder, of which file of which repository and commit
they are, and what of it. A file of such content is a sample wherever it lies.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from waystation import places
from waystation.backbones import offline
from waystation.errors import InputError, WaystationError
from waystation.records import file_sha256
from waystation.tasks.fetching import upstream
from waystation.tasks.task import Task

DECLARED = Path(__file__).parent.parent / "catalog" / "pieces.csv"
WHOLE = "whole"


class Piece(NamedTuple):
    """One declared file. ``upstream`` is its path in the repository; empty, with a ``note``, where it is not known.

    ``limit`` is "whole", or what comes first: "lines 600", "sentences 600", "rows 1500" (after the header), "articles
    16" (of SQuAD's JSON), "items 400 indent=1 ascii" (of a JSON list or object, and how it was written again; "items
    all" is whole); empty where no limit says it.
    """

    folder: str
    path: str
    repository: str
    commit: str
    upstream: str
    limit: str
    sha256: str
    note: str


@cache
def pieces() -> tuple[Piece, ...]:
    """Every declared piece."""
    with DECLARED.open(encoding="utf-8", newline="") as file:
        return tuple(Piece(**row) for row in csv.DictReader(file))


@cache
def _cut_short() -> frozenset[str]:
    return frozenset(piece.sha256 for piece in pieces() if piece.limit not in ("", WHOLE) and " all" not in piece.limit)


def is_piece(sha256: str) -> bool:
    """Whether a file of this content is known to be less than the official one."""
    return sha256 in _cut_short()


def declared(task: Task) -> list[Piece]:
    """The pieces that a task's own files are."""
    folders = (task.id, *task.folders)
    names: list[str] = []
    for part in task.splits.values():
        for group in part.paths().values():
            names += group
            if task.reader is not None and task.reader.premises is not None:
                names += [(PurePosixPath(name).parent / task.reader.premises).as_posix() for name in group]
        names += [name for name in (part.only, part.without) if name is not None]
    asked = set(names)
    return [
        piece
        for piece in pieces()
        if piece.folder in folders
        and (piece.path in asked or any(str(above) in asked for above in PurePosixPath(piece.path).parents))
    ]


def of(task: Task) -> list[Piece]:
    """The pieces that a task's own files are; InputError where none is declared."""
    found = declared(task)
    if not found:
        raise InputError(f"task '{task.id}' has no declared pieces: `waystation data get {task.id}` fetches the whole")
    return found


def rebuild(piece: Piece, data: Path) -> bool:
    """Make a piece in the data folder from the official file; False where it is there already.

    Raises WaystationError where it cannot be fetched or comes out otherwise, InputError where another file lies in its
    place, where the official file is not known, and in offline mode.
    """
    place = data / piece.folder / piece.path
    if place.exists():
        if file_sha256(place) == piece.sha256:
            return False
        raise InputError(f"{place} holds something else than the piece of that name: move it away, it is not replaced")
    if not piece.upstream or not piece.limit:
        raise InputError(f"{place}: {piece.note or 'cannot be rebuilt'} (a copy from {piece.repository})")
    if offline():
        raise InputError(f"{place}: offline mode is on: run it again with the network on")
    whole = places.cache_folder() / "data" / "pieces" / piece.repository / piece.commit[:16] / piece.upstream
    if not whole.is_file():
        upstream.raw(piece.repository, piece.commit, piece.upstream, whole)
    try:
        made = cut(whole.read_bytes(), piece.limit)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise WaystationError(f"{whole}: no {piece.limit} to be had of it ({error}): delete it and try again") from None
    if (found := hashlib.sha256(made).hexdigest()) != piece.sha256:
        raise WaystationError(
            f"{place}: {piece.limit} of {piece.repository}@{piece.commit[:12]}:{piece.upstream} has SHA-256 {found}, "
            f"declared is {piece.sha256}: it is not written"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".part")
    partial.write_bytes(made)
    partial.replace(place)
    return True


def cut(content: bytes, limit: str) -> bytes:
    """What a limit leaves of a file. Raises ValueError where the file holds less, or is not of that kind."""
    if limit == WHOLE:
        return content
    kind, count, *style = limit.split()
    if kind in _TEXT:
        return _TEXT[kind](content, int(count))
    document = json.loads(content.decode("utf-8-sig"))
    if kind == "articles":
        document = {**document, "data": _first(document["data"], int(count))}
    elif kind == "items":
        document = document if count == "all" else _first(document, int(count))
    else:
        raise ValueError(f"unknown limit '{limit}'")
    indents = [int(one.removeprefix("indent=")) for one in style if one.startswith("indent=")]
    return json.dumps(document, ensure_ascii="ascii" in style, indent=indents[0] if indents else None).encode()


def _first(items: Any, count: int) -> Any:
    if len(items) < count:
        raise ValueError(f"only {len(items)} of them")
    return dict(list(items.items())[:count]) if isinstance(items, dict) else items[:count]


def _lines(content: bytes, count: int) -> bytes:
    kept = content.split(b"\n", count)
    if len(kept) <= count:
        raise ValueError(f"only {len(kept)} lines")
    return b"\n".join(kept[:count]) + b"\n"


def _sentences(content: bytes, count: int) -> bytes:
    """Blocks of lines up to the blank line after the last one."""
    found = end = 0
    inside = False
    for line in content.splitlines(keepends=True):
        end += len(line)
        if line.strip():
            inside = True
        elif inside:
            found, inside = found + 1, False
            if found == count:
                return content[:end]
    raise ValueError(f"only {found} sentences")


def _rows(content: bytes, count: int) -> bytes:
    """The header and rows of a CSV file, in which a quoted field may hold line ends."""
    lines = list(io.StringIO(content.decode("utf-8"), newline="\n"))
    reader = csv.reader(lines)
    found = -1  # the header is no row
    while found < count:
        row = next(reader, None)
        if row is None:
            raise ValueError(f"only {max(0, found)} rows")
        found += bool(row)
    return "".join(lines[: reader.line_num]).encode()


_TEXT: dict[str, Callable[[bytes, int], bytes]] = {"lines": _lines, "sentences": _sentences, "rows": _rows}
