"""Unpacking zip and tar archives of strangers: regular files inside the folder, or nothing."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from waystation.errors import WaystationError

MOST_BYTES = 64 * 2**30
MOST_MEMBERS = 1_000_000
MOST_RATIO = 1000
"""Bytes unpacked for one that was packed. Text reaches 50; zeros in deflate 1030, in bzip2 and xz far more."""
_SMALL = 100 * 2**20  # what is less than this unpacked does no harm whatever its ratio


class _Member(NamedTuple):
    name: str
    size: int
    fault: str
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, compressed or not."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into ``folder``, which must not exist; it appears when all of it is there.

    Absolute names, names with ``..``, links, devices, encrypted members and bombs are refused by name, with
    WaystationError, and nothing is left.
    """
    begun = folder.with_name(folder.name + ".part")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir(parents=True)
    try:
        _fill(archive, begun)
        begun.rename(folder)
    except (
        OSError,
        EOFError,
        zipfile.BadZipFile,
        tarfile.TarError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
        RuntimeError,
    ) as error:
        raise WaystationError(
            f"{archive}: cannot be unpacked ({' '.join(str(error).split())}): fetch it again"
        ) from None
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _fill(archive: Path, folder: Path) -> None:
    most = min(MOST_BYTES, max(_SMALL, MOST_RATIO * archive.stat().st_size))
    total = 0
    with closing(_members(archive)) as members:
        for count, member in enumerate(members, 1):
            total += member.size
            fault = _fault(member.name) or member.fault
            if total > most:
                fault = f"it would unpack to more than {most} bytes"
            elif count > MOST_MEMBERS:
                fault = f"there are more than {MOST_MEMBERS} members"
            if fault:
                raise WaystationError(f"{archive}: member '{member.name}' is refused: {fault}")
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("xb") as file:
                shutil.copyfileobj(source, file)


def _fault(name: str) -> str:
    """What is wrong with a member's name."""
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or ":" in "".join(path.parts[:1]):
        return "its name is absolute or not a plain path"
    return "its name leads out of the folder" if ".." in path.parts else ""


def _members(archive: Path) -> Generator[_Member]:
    """Everything in an archive but folders."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if info.is_dir() and not _fault(info.filename):
                    continue
                mode = info.external_attr >> 16
                fault = "it is encrypted" if info.flag_bits & 1 else ""
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    fault = "it is a link or a device"
                yield _Member(info.filename, info.file_size, fault, partial(packed.open, info))
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isdir() and not _fault(member.name):
                continue
            fault = "" if member.isreg() else "it is a link or a device"
            yield _Member(member.name, member.size, fault, partial(_tarred, packed, member))


def _tarred(packed: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = packed.extractfile(member)
    assert found is not None  # only regular files are opened
    return found
